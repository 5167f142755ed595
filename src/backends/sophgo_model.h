// SPDX-License-Identifier: Apache-2.0
// A .bmodel as a file: whole, and for which chip. libbmrt ends the process on a damaged one (exit), so it is looked at
// before; the container is described by tpu-mlir's public schema, bmodel.fbs.
#pragma once

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "module.h"

namespace sophgo {

using yqb::Failure;

// The file's first bytes; then the flatbuffer, then weights and instructions.
struct Header {
    uint32_t magic, header_bytes, flatbuffer_bytes, binary_bytes;
    uint32_t reserved[12];
};
static_assert(sizeof(Header) == 64);

// Reads numbers out of bytes; false where they end.
class Bytes {
public:
    Bytes(const uint8_t *data, uint64_t size) : data_(data), size_(size) {}

    template <typename Number> bool read(uint64_t offset, Number *value) const {
        if (offset > size_ || size_ - offset < sizeof *value) return false;
        std::memcpy(value, data_ + offset, sizeof *value);
        return true;
    }

    // The text that field `id` of the flatbuffer's root table points to.
    bool root_text(uint32_t id, std::string *text) const {
        uint32_t root = 0, start = 0, length = 0;
        int32_t back = 0;
        uint16_t table_bytes = 0, field = 0;
        if (!read(0, &root) || !read(root, &back)) return false;
        const uint64_t table = static_cast<uint64_t>(static_cast<int64_t>(root) - back);
        const uint64_t entry = 4 + 2 * uint64_t{id};
        if (!read(table, &table_bytes) || table_bytes < entry + 2 || !read(table + entry, &field) || field == 0)
            return false;
        const uint64_t pointer = uint64_t{root} + field;
        if (!read(pointer, &start) || !read(pointer + start, &length)) return false;
        const uint64_t first = pointer + start + 4;
        if (length > 64 || first > size_ || size_ - first < length) return false;
        text->assign(reinterpret_cast<const char *>(data_ + first), length);
        return true;
    }

private:
    const uint8_t *data_;
    uint64_t size_;
};

// A whole .bmodel in memory of ours, under a path that libbmrt can open: it opens files for writing too, and packages
// are often read-only.
class ModelFile {
public:
    explicit ModelFile(const char *artifact) {
        const std::filesystem::path path = std::filesystem::u8path(artifact);
        std::error_code ignored;
        if (!std::filesystem::is_regular_file(path, ignored))
            throw Failure{YQB_ENOTFOUND, std::string("there is no file ") + artifact};
        std::ifstream file(path, std::ios::binary);
        std::vector<uint8_t> content(std::filesystem::file_size(path));
        file.read(reinterpret_cast<char *>(content.data()), static_cast<std::streamsize>(content.size()));
        if (!file) throw Failure{YQB_ENOTFOUND, std::string("cannot read ") + artifact};
        check(content, artifact);
        keep(content);
    }
    ~ModelFile() {
        if (descriptor_ >= 0) close(descriptor_);
    }
    ModelFile(const ModelFile &) = delete;
    ModelFile &operator=(const ModelFile &) = delete;

    const std::string &chip() const { return chip_; } // as the compiler wrote it, such as "BM1684X"
    std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

private:
    void check(const std::vector<uint8_t> &content, const char *artifact) {
        constexpr uint32_t magic = 0xFF55AAEE, chip_field = 3;
        const Bytes bytes(content.data(), content.size());
        Header header = {};
        if (!bytes.read(0, &header) || header.magic != magic)
            throw Failure{YQB_EPACKAGE, std::string("no .bmodel: ") + artifact + ": build the package anew"};
        const uint64_t wanted = uint64_t{header.header_bytes} + header.flatbuffer_bytes + uint64_t{header.binary_bytes};
        const std::string sizes = std::to_string(content.size()) + " bytes of " + std::to_string(wanted);
        if (header.header_bytes < sizeof header || content.size() < wanted)
            throw Failure{YQB_EPACKAGE, "cut short, " + sizes + ": " + artifact + ": copy the package anew"};
        const Bytes flatbuffer(content.data() + header.header_bytes, header.flatbuffer_bytes);
        if (!flatbuffer.root_text(chip_field, &chip_))
            throw Failure{YQB_EPACKAGE,
                          std::string("damaged, names no chip: ") + artifact + ": build the package anew"};
    }

    void keep(const std::vector<uint8_t> &content) {
        descriptor_ = memfd_create("yoloq.bmodel", MFD_CLOEXEC);
        if (descriptor_ < 0) throw Failure{YQB_EBACKEND, std::string("memfd_create failed: ") + std::strerror(errno)};
        for (size_t done = 0; done < content.size();) {
            const ssize_t written = write(descriptor_, content.data() + done, content.size() - done);
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) {
                close(descriptor_);
                throw Failure{YQB_ENOMEM, std::string("no memory for the model: ") + std::strerror(errno)};
            }
            done += static_cast<size_t>(written);
        }
    }

    int descriptor_ = -1;
    std::string chip_;
};

} // namespace sophgo
