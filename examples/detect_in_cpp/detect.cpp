// Detects in a picture with a file of `centernet-d2 export --format openvino` (or onnx), by OpenVINO.
//
//     detect model.xml picture.ppm 0.3
//
// prints a line per detection: class, score, left, top, right, bottom in pixels of the picture. Placing
// on the canvas, normalising and decoding are in the graph: it is given the pixels as they are.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <openvino/openvino.hpp>

struct Picture {
    size_t height = 0, width = 0;
    std::vector<uint8_t> pixels;  // height x width x (blue, green, red)
};

// A binary PPM, which needs no library; `convert picture.jpg picture.ppm` makes one.
Picture read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    size_t largest = 0;
    Picture picture;
    if (!(file >> kind >> picture.width >> picture.height >> largest) || kind != "P6" || largest != 255)
        throw std::runtime_error("'" + path + "' is no binary PPM of 8 bits");
    file.get();  // the one blank before the pixels
    picture.pixels.resize(picture.height * picture.width * 3);
    if (!file.read(reinterpret_cast<char*>(picture.pixels.data()), picture.pixels.size()))
        throw std::runtime_error("'" + path + "' ends before its last pixel");
    for (size_t i = 0; i < picture.pixels.size(); i += 3)
        std::swap(picture.pixels[i], picture.pixels[i + 2]);
    return picture;
}

// The names in the metadata, a JSON text: what stands in quotes between the brackets.
std::vector<std::string> class_names(const ov::Model& model) {
    std::vector<std::string> names;
    if (!model.has_rt_info("centernet_d2")) return names;
    const auto text = model.get_rt_info<std::string>("centernet_d2");
    const std::string key = "\"class_names\": [";
    const size_t begin = text.find(key);
    if (begin == std::string::npos) return names;
    const size_t end = text.find(']', begin);
    for (size_t at = begin + key.size(); (at = text.find('"', at)) < end;) {
        const size_t close = text.find('"', at + 1);
        names.push_back(text.substr(at + 1, close - at - 1));
        at = close + 1;
    }
    return names;
}

int main(int count, char** words) try {
    if (count < 3) throw std::runtime_error("usage: detect model.xml picture.ppm [threshold]");
    const float threshold = count > 3 ? std::stof(words[3]) : 0.3f;
    Picture picture = read_ppm(words[2]);

    ov::Core core;
    auto model = core.read_model(words[1]);
    const auto names = class_names(*model);
    // Without the hint a processor with bfloat16 computes in it.
    auto request = core.compile_model(model, "CPU", ov::hint::inference_precision(ov::element::f32))
                       .create_infer_request();
    request.set_tensor("pictures", ov::Tensor(ov::element::u8, {1, picture.height, picture.width, 3},
                                              picture.pixels.data()));
    request.infer();

    const float* scores = request.get_tensor("scores").data<const float>();
    const int64_t* classes = request.get_tensor("pred_classes").data<const int64_t>();
    const float* boxes = request.get_tensor("pred_boxes").data<const float>();
    const int64_t found = request.get_tensor("count").data<const int64_t>()[0];
    for (int64_t i = 0; i < found && scores[i] > threshold; ++i) {  // best first
        const size_t number = static_cast<size_t>(classes[i]);
        const std::string label = number < names.size() ? names[number] : std::to_string(number);
        const float* box = boxes + 4 * i;
        std::printf("%s %.4f %.2f %.2f %.2f %.2f\n", label.c_str(), scores[i], box[0], box[1], box[2], box[3]);
    }
} catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
}
