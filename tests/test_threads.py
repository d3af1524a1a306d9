"""Threads that fit the machine: control groups, the user's own variables, what is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from centernet_d2 import threads
from centernet_d2.runtime.cores import is_busy
from centernet_d2.threads import Share, describe, fit_threads, share_of_process

SHORT = {"GOMP_SPINCOUNT": "3000"}
V2, V1 = "0::/a/b\n", "4:memory:/x\n3:cpu,cpuacct:/docker/1\n2:cpuset:/\n0::/\n"


def control_groups(root: Path, own: str, **files: str) -> Path:
    """A made-up /proc/self/cgroup, and files below /sys/fs/cgroup."""
    contents = {"proc/self/cgroup": own} if own else {}
    contents |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def files_v1(micro: str, period: str = "100000", folder: str = "cpu,cpuacct/docker/1") -> dict:
    names = {"quota": micro, "period": period}
    return {f"{folder}/cpu.cfs_{name}_us": f"{text}\n" for name, text in names.items()}


@pytest.mark.parametrize(
    ("own", "files", "cores", "quota"),
    [
        ("", {}, 8, None),
        (V2, {"a/b/cpu.max": "max 100000\n"}, 8, None),
        (V2, {"a/b/cpu.max": "200000 100000\n"}, 2, 2),
        (V2, {"a/b/cpu.max": "150000 100000\n"}, 2, 1.5),
        (V2, {"a/b/cpu.max": "140000 100000\n"}, 1, 1.4),
        (V2, {"a/b/cpu.max": "25000 50000\n"}, 1, 0.5),
        (V2, {"a/b/cpu.max": "900000 100000\n"}, 8, None),
        # The narrowest of a group and those around it.
        (
            V2,
            {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000", "cpu.max": "max 100000"},
            3,
            3,
        ),
        # The path is the machine's, the files are at the container's top.
        (V2, {"cpu.max": "400000 100000"}, 4, 4),
        ("0::/../../c\n", {"c/cpu.max": "100000 100000"}, 1, 1),
        (V2, {"unified/a/cpu.max": "100000 100000"}, 1, 1),
        (V1, files_v1("-1"), 8, None),
        (V1, files_v1("300000"), 3, 3),
        (V1, files_v1("300000", folder="cpu"), 3, 3),
        ("2:cpuset:/s\n", files_v1("100000", folder="cpu/s"), 8, None),
        (V2, {"a/b/cpu.max": ""}, 8, None),
        (V2, {"a/b/cpu.max": "0 0"}, 8, None),
        (V2, {"a/b/cpu.max": "two cores"}, 8, None),
        (V2, {"a/b/cpu.max": "1 2 3"}, 8, None),
        ("no control groups\n\n::\n", {"cpu.max": "100000 100000"}, 8, None),
    ],
)
def test_the_quota_of_the_control_groups_counts(tmp_path, own, files, cores, quota):
    root = control_groups(tmp_path, own, **files)
    reason = f"the container's quota of {quota} of 8 cores" if quota else "all 8 cores"
    assert share_of_process(root, 8, 8) == Share(cores, reason)


def test_the_smaller_of_affinity_and_quota_counts(tmp_path):
    assert share_of_process(tmp_path, 4, 16) == Share(4, "4 of 16 cores by affinity")
    root = control_groups(tmp_path, V2, **{"cpu.max": "300000 100000"})
    assert share_of_process(root, 4, 16).cores == 3
    assert share_of_process(root, 2, 16) == Share(2, "2 of 16 cores by affinity")


@pytest.fixture
def share(monkeypatch):
    """A function that gives this process other cores."""
    return lambda given: monkeypatch.setattr(threads, "share_of_process", lambda: given)


@pytest.fixture
def no_torch(monkeypatch):
    """A process that has not imported torch, on a machine of 16 cores."""
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(threads, "allowed_cores", lambda: 16)
    monkeypatch.setattr(threads, "is_busy", lambda cores: False)


QUOTA = Share(2, "the container's quota of 2 of 16 cores")
ALL = Share(16, "all 16 cores")
TWO = "2 threads (the container's quota of 2 of 16 cores)"


@pytest.mark.parametrize(
    ("cores", "given", "added", "told"),
    [
        (QUOTA, {}, {"OMP_NUM_THREADS": "2", **SHORT}, f"{TWO}, GOMP_SPINCOUNT=3000"),
        # Fewer than all cores are OpenMP's own choice, also one thread of each physical core.
        (ALL, {}, SHORT, "16 threads (all 16 cores), GOMP_SPINCOUNT=3000"),
        (
            QUOTA,
            {"OMP_NUM_THREADS": "4,2"},
            SHORT,
            f"4 threads (OMP_NUM_THREADS=4,2, {QUOTA.reason}) - too many, set OMP_NUM_THREADS=2 "
            "before Python starts, GOMP_SPINCOUNT=3000",
        ),
        (
            QUOTA,
            {"MKL_NUM_THREADS": "1", "GOMP_SPINCOUNT": "7"},
            {},
            f"1 thread (MKL_NUM_THREADS=1, {QUOTA.reason}), GOMP_SPINCOUNT=7",
        ),
        (
            QUOTA,
            {"OMP_WAIT_POLICY": "ACTIVE"},
            {"OMP_NUM_THREADS": "2"},
            f"{TWO}, OMP_WAIT_POLICY=ACTIVE",
        ),
        (
            QUOTA,
            {"OMP_NUM_THREADS": "many"},
            SHORT,
            f"2 threads (OMP_NUM_THREADS=many, {QUOTA.reason}), GOMP_SPINCOUNT=3000",
        ),
        (
            QUOTA,
            {"OMP_NUM_THREADS": "0"},  # which OpenMP refuses
            SHORT,
            f"2 threads (OMP_NUM_THREADS=0, {QUOTA.reason}), GOMP_SPINCOUNT=3000",
        ),
    ],
)
@pytest.mark.usefixtures("no_torch")
def test_only_what_the_user_has_not_set_is_set(share, cores, given, added, told):
    share(cores)
    environ = dict(given)
    assert fit_threads(environ) == told
    names = environ.pop("CENTERNET_D2_THREADS").split(",")
    assert environ == given | added
    assert set(names) - {""} == set(added)


@pytest.mark.usefixtures("no_torch")
def test_a_process_that_is_started_takes_nothing_of_this_for_the_users(share):
    environ: dict[str, str] = {}
    for cores in (QUOTA, Share(3, "a quota"), ALL):
        share(cores)
        fit_threads(environ)
        assert environ.get("OMP_NUM_THREADS") == (None if cores is ALL else str(cores.cores))
        assert environ["GOMP_SPINCOUNT"] == "3000"


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"GOMP_SPINCOUNT": "7"}, {}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {}),
    ],
)
@pytest.mark.usefixtures("no_torch")
def test_beside_others_threads_do_not_spin(share, monkeypatch, given, added):
    share(ALL)
    asked: list[int] = []
    monkeypatch.setattr(threads, "is_busy", lambda cores: asked.append(cores) or True)
    environ = dict(given)
    told = fit_threads(environ)
    assert asked == [16]
    assert environ == given | added | {"CENTERNET_D2_THREADS": ",".join(added)}
    assert told.endswith("OMP_WAIT_POLICY=PASSIVE as other processes compute") == bool(added)
    measured = dict(given)
    fit_threads(measured, measured=True)
    assert measured.get("GOMP_SPINCOUNT") == (given or SHORT).get("GOMP_SPINCOUNT")
    assert measured.get("OMP_WAIT_POLICY") == given.get("OMP_WAIT_POLICY")
    monkeypatch.setattr(threads, "is_busy", lambda cores: False)
    fit_threads(environ)  # a process that is started from it, later
    assert ("OMP_WAIT_POLICY" in environ) == ("OMP_WAIT_POLICY" in given)


@pytest.mark.parametrize(
    ("loadavg", "cores", "busy"),
    [
        ("0.00 0.20 0.30 1/100 7", 16, False),
        ("0.80 0.20 0.30 2/100 7", 16, True),  # one other, for most of the last minute
        ("0.30 0.20 0.30 4/100 7", 16, False),  # they have just begun
        ("3.00 0.20 0.30 1/100 7", 16, False),  # they have ended
        ("8.00 0.20 0.30 9/100 7", 8, False),  # the other half of the machine
        ("8.00 0.20 0.30 9/100 7", 9, True),
        ("", 16, False),
        ("0.1 0.2", 16, False),
        ("not to be read 9/9 9", 16, False),
    ],
)
def test_a_machine_is_busy_where_too_few_cores_are_free(
    tmp_path, monkeypatch, loadavg, cores, busy
):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "loadavg").write_text(loadavg)
    assert is_busy(cores, tmp_path) == busy
    assert not is_busy(cores, tmp_path / "none")


def test_threads_of_torch_are_told_and_too_many_of_them(monkeypatch, share):
    share(QUOTA)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    environ: dict[str, str] = {}
    assert fit_threads(environ) == (
        f"5 threads (torch's own number, {QUOTA.reason}) - too many, set OMP_NUM_THREADS=2 before "
        "Python starts"
    )
    assert environ == {}  # it would come too late
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert describe(environ) == f"1 thread (torch's own number, {QUOTA.reason})"
    environ = {"OMP_NUM_THREADS": "3"}  # which MKL takes as a limit
    told = f"1 thread (OMP_NUM_THREADS=3, torch's own number, {QUOTA.reason})"
    assert describe(environ) == told


@pytest.mark.parametrize(
    ("processes", "environ", "chosen"),
    [
        (2, {}, [4]),
        (3, {}, [2]),
        (9, {}, [1]),
        (2, {"OMP_NUM_THREADS": "2", "CENTERNET_D2_THREADS": "OMP_NUM_THREADS"}, [4]),
        (2, {"OMP_NUM_THREADS": "2"}, []),
    ],
)
def test_a_process_of_a_job_takes_its_part(monkeypatch, processes, environ, chosen):
    monkeypatch.setattr(threads, "_job", {})
    monkeypatch.setattr(threads, "usable_cores", lambda root, allowed: (8, 0))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    taken: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    threads.share_among(processes, environ)
    assert taken == chosen
    assert f"all 8 cores, shared by {processes} processes" in describe(environ)


def test_torch_takes_what_is_fitted_before_it_is_imported():
    program = (
        "import sys; sys.argv = ['centernet-d2']  # a command, which has not imported torch\n"
        "from centernet_d2 import threads\n"
        "threads.share_of_process = lambda: threads.Share(1, 'a quota')\n"
        "threads.fit_threads(); import torch; print(torch.get_num_threads())"
    )
    environ = {k: v for k, v in os.environ.items() if k not in threads.COUNTS}
    environ["PYTHONPATH"] = str(Path(threads.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environ, check=True
    )
    assert done.stdout == "1\n"
