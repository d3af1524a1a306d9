"""A stand-in for the Hugging Face Hub, as far as huggingface_hub 2.4 asks to push and to fetch.

Large files come by Git LFS (HF_HUB_DISABLE_XET), all others inside the commit.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
from contextlib import contextmanager
from urllib.parse import unquote

import yaml
from local_server import served

TOKEN = "hf_of_the_test"


class HubServer(http.server.BaseHTTPRequestHandler):
    """Repositories in class attributes, which `serve` makes anew."""

    protocol_version = "HTTP/1.1"
    repositories: dict  # name -> revision -> path -> content; "main" and every commit
    objects: dict  # LFS: digest -> content
    asked: list  # method and path of each request
    private: list

    def do_POST(self):
        body = self._body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid credentials"}, 401)
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            header = json.loads(body)["content"].split("---\n")[1]
            told = [] if yaml.safe_load(header)["license"] else [{"message": "no license"}]
            return self._json({"errors": told, "warnings": []}, 400 if told else 200)
        if match := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith("safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self._json({"files": modes})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": self._address(f"/lfs/{each['oid']}")}}}
                for each in json.loads(body)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": objects})
        if match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            return self._commit(match[1], map(json.loads, body.splitlines()))
        return self._json({"error": f"unknown: {path}"}, 404)

    def _create(self, asked):
        name = f"{asked['organization']}/{asked['name']}"
        known = name in self.repositories
        self.repositories.setdefault(name, {"main": {}})
        if asked.get("visibility") == "private" or asked.get("private"):
            self.private.append(name)
        answer = {"url": self._address(f"/{name}"), "id": name}
        return self._json(answer | ({"error": "it exists"} if known else {}), 409 if known else 200)

    def _commit(self, name, lines):
        files = dict(self.repositories[name]["main"])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.repositories[name] |= {"main": files, commit: files}
        address = self._address(f"/{name}/commit/{commit}")
        return self._json({"commitUrl": address, "commitOid": commit})

    def do_PUT(self):
        content = self._body()
        self.objects[hashlib.sha256(content).hexdigest()] = content
        self._json({})

    def do_GET(self):
        self._body()
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", unquote(self.path))
        parts = match.groups() if match else [self.path]  # without rights it is asked about
        content = self.repositories
        for part, lacks in zip(parts, ("Repo", "Revision", "Entry"), strict=False):
            files, content = content, content.get(part)
            if content is None:
                error = f"{lacks}NotFound"
                return self._json({"error": error}, 404, {"X-Error-Code": error})
        repository = self.repositories[match[1]]
        commits = {name for name, each in repository.items() if each == files} - {"main"}
        digest = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": commits.pop()}
        return self._answer(content, 200, headers | {"Content-Type": "application/octet-stream"})

    def do_HEAD(self):
        self.do_GET()

    def _body(self):
        self.asked.append(f"{self.command} {self.path}")
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _address(self, path):
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def _json(self, answer, status=200, headers=()):
        kind = {"Content-Type": "application/json"}
        self._answer(json.dumps(answer).encode(), status, kind | dict(headers))

    def _answer(self, content, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@contextmanager
def serve():
    """Run one: its class, with what it holds, and its address."""
    state = {"repositories": {}, "objects": {}, "asked": [], "private": []}
    handler = type("Handler", (HubServer,), state)
    with served(handler) as address:
        yield handler, address
