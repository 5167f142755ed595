// SPDX-License-Identifier: Apache-2.0
// What a .om of the tests holds, and what runs it. The file: "YQDBL_OM", the length of a header (uint64, little
// endian), the header as JSON, the rest. A planted one, for tests of the runtime, is computed here: its outputs are a
// function of every pixel of their own picture. Every other is run by the command in YOLOQ_ASCEND_EXECUTOR, over its
// standard input and output; a message is its length (uint64, little endian) and its bytes:
//
//     to it: the whole file         from it: a length of 0; or the length 2^64-1 and a message that says why not
//     to it: the inputs             from it: the outputs; or the same
#include "internal.h"

#include <csignal>
#include <fstream>
#include <iterator>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

namespace {

std::vector<tensor_info> tensors(const nlohmann::json &items) {
    std::vector<tensor_info> found;
    for (const auto &item : items) {
        tensor_info tensor{item["name"], item["dtype"], item.value("format", 2), item["dims"], item["size"]};
        size_t elements = 1;
        for (const int64_t size : tensor.dims) elements *= static_cast<size_t>(size);
        tensor.element = tensor.bytes / elements;
        found.push_back(tensor);
    }
    return found;
}

// The header of a file; throws if there is none.
nlohmann::json read_header(const std::string &text) {
    uint64_t length = 0;
    if (text.size() < 16 || text.compare(0, 8, "YQDBL_OM") != 0) throw std::runtime_error("no model");
    std::memcpy(&length, text.data() + 8, sizeof length);
    if (length > text.size() - 16) throw std::runtime_error("cut short");
    return nlohmann::json::parse(text.substr(16, length));
}

// ----------------------------------------------------------------------------------------------------------- planted

void put(int type, float real, uint8_t *to) { // a multiple of 0.5, of at most 2^10
    uint32_t bits = 0;
    std::memcpy(&bits, &real, 4);
    if (type == float32) {
        std::memcpy(to, &bits, 4);
    } else if (type == float16) {
        const uint32_t magnitude = bits & 0x7FFFFFFF, exponents = 112 << 10; // between the two formats' biases
        const auto half =
            static_cast<uint16_t>((bits >> 16 & 0x8000) | (magnitude ? (magnitude >> 13) - exponents : 0));
        std::memcpy(to, &half, 2);
    } else {
        *to = static_cast<uint8_t>(static_cast<int>(real * 2)); // int8 in steps of 0.5
    }
}

bool run_planted(const model_content &content, const std::vector<const uint8_t *> &in,
                 const std::vector<uint8_t *> &out) {
    const auto batch = static_cast<size_t>(content.inputs[0].dims[0]);
    const size_t pixels = content.inputs[0].bytes / batch;
    for (size_t picture = 0; picture < batch; ++picture) {
        uint32_t sum = 0;
        for (size_t i = 0; i < pixels; ++i) sum += in[0][picture * pixels + i] * static_cast<uint32_t>(i % 1021 + 1);
        for (size_t t = 0; t < out.size(); ++t) {
            const tensor_info &tensor = content.outputs[t];
            const size_t each = tensor.bytes / batch / tensor.element;
            const bool score = tensor.name.find("score") != std::string::npos;
            for (size_t k = 0; k < each; ++k) {
                const auto half = static_cast<float>((sum + k * 7 + t * 13) % 23) / 2; // 0 to 11
                put(tensor.type, score ? half - 9 : half, out[t] + (picture * each + k) * tensor.element);
            }
        }
    }
    return true;
}

// ------------------------------------------------------------------------------------------------------------- child

bool whole_write(int to, const uint8_t *data, size_t bytes) {
    while (bytes > 0) {
        const ssize_t done = write(to, data, bytes);
        if (done <= 0) return false;
        data += done;
        bytes -= static_cast<size_t>(done);
    }
    return true;
}

bool whole_read(int from, uint8_t *data, size_t bytes) {
    while (bytes > 0) {
        const ssize_t done = read(from, data, bytes);
        if (done <= 0) return false;
        data += done;
        bytes -= static_cast<size_t>(done);
    }
    return true;
}

// A command that runs a model.
class child {
public:
    explicit child(const char *command) {
        int to[2], from[2];
        if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC)) breach("no pipes");
        signal(SIGPIPE, SIG_IGN); // a child that died is a run that failed
        const std::string line = std::string("exec ") + command;
        process_ = fork();
        if (process_ == 0) {
            dup2(to[0], 0);
            dup2(from[1], 1);
            execl("/bin/sh", "sh", "-c", line.c_str(), static_cast<char *>(nullptr));
            _exit(127);
        }
        close(to[0]);
        close(from[1]);
        to_ = to[1];
        from_ = from[0];
    }
    ~child() {
        close(to_);
        close(from_);
        waitpid(process_, nullptr, 0);
    }
    child(const child &) = delete;
    child &operator=(const child &) = delete;

    bool send(const std::vector<std::pair<const uint8_t *, size_t>> &parts) const {
        uint64_t length = 0;
        for (const auto &part : parts) length += part.second;
        bool whole = whole_write(to_, reinterpret_cast<const uint8_t *>(&length), sizeof length);
        for (const auto &part : parts) whole = whole && whole_write(to_, part.first, part.second);
        return whole;
    }
    // A message of as many bytes as the parts have; says why if it is another.
    bool receive(const std::vector<std::pair<uint8_t *, size_t>> &parts) const {
        uint64_t wanted = 0, length = 0;
        for (const auto &part : parts) wanted += part.second;
        if (!whole_read(from_, reinterpret_cast<uint8_t *>(&length), sizeof length)) return false;
        if (length == UINT64_MAX) {
            if (!whole_read(from_, reinterpret_cast<uint8_t *>(&length), sizeof length) || length > 1 << 20)
                return false;
            std::string why(length, ' ');
            whole_read(from_, reinterpret_cast<uint8_t *>(why.data()), length);
            say(why);
            return false;
        }
        bool whole = length == wanted;
        for (const auto &part : parts) whole = whole && whole_read(from_, part.first, part.second);
        return whole;
    }
    bool run(const model_content &content, const std::vector<const uint8_t *> &in,
             const std::vector<uint8_t *> &out) const {
        std::vector<std::pair<const uint8_t *, size_t>> from;
        std::vector<std::pair<uint8_t *, size_t>> to;
        for (size_t i = 0; i < in.size(); ++i) from.emplace_back(in[i], content.inputs[i].bytes);
        for (size_t i = 0; i < out.size(); ++i) to.emplace_back(out[i], content.outputs[i].bytes);
        return send(from) && receive(to);
    }

private:
    pid_t process_ = -1;
    int to_ = -1, from_ = -1;
};

} // namespace

std::unique_ptr<model_content> read_model(const char *path, int *code) {
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    auto content = std::make_unique<model_content>();
    model_content *const raw = content.get(); // it owns `run`
    *code = bad_parse;
    try {
        const nlohmann::json header = read_header(text);
        raw->soc = header["soc"];
        raw->inputs = tensors(header["inputs"]);
        raw->outputs = tensors(header["outputs"]);
        raw->delay_ms = header.value("delay_ms", 0);
        if (header["kind"] == "planted") {
            raw->run = [raw](const auto &in, const auto &out) { return run_planted(*raw, in, out); };
            return content;
        }
    } catch (const std::exception &error) {
        say(std::string("the model file is damaged: ") + error.what());
        return nullptr;
    }
    const char *command = std::getenv("YOLOQ_ASCEND_EXECUTOR");
    if (!command) breach("YOLOQ_ASCEND_EXECUTOR names no command");
    auto runner = std::make_shared<child>(command);
    if (!runner->send({{reinterpret_cast<const uint8_t *>(text.data()), text.size()}}) || !runner->receive({}))
        return nullptr;
    raw->run = [raw, runner](const auto &in, const auto &out) { return runner->run(*raw, in, out); };
    return content;
}
