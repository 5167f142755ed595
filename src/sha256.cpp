// SPDX-License-Identifier: Apache-2.0
#include "sha256.h"

#include <stdexcept>

#ifdef _WIN32
#include <windows.h>

#include <bcrypt.h>
#else
#include <mbedtls/md.h>
#endif

namespace yq {
namespace {

constexpr size_t digest_bytes = 32;

void check(bool ok) {
    if (!ok) throw std::runtime_error("the SHA-256 provider failed");
}

} // namespace

#ifdef _WIN32

struct Sha256::State {
    BCRYPT_ALG_HANDLE algorithm = nullptr;
    BCRYPT_HASH_HANDLE hash = nullptr;
    ~State() {
        if (hash) BCryptDestroyHash(hash);
        if (algorithm) BCryptCloseAlgorithmProvider(algorithm, 0);
    }
    void start() {
        check(BCryptOpenAlgorithmProvider(&algorithm, BCRYPT_SHA256_ALGORITHM, nullptr, 0) == 0);
        check(BCryptCreateHash(algorithm, &hash, nullptr, 0, nullptr, 0, 0) == 0);
    }
    void update(const void *data, size_t bytes) {
        check(BCryptHashData(hash, static_cast<PUCHAR>(const_cast<void *>(data)), static_cast<ULONG>(bytes), 0) == 0);
    }
    void finish(unsigned char *digest) { check(BCryptFinishHash(hash, digest, digest_bytes, 0) == 0); }
};

#else

struct Sha256::State {
    mbedtls_md_context_t context;
    State() { mbedtls_md_init(&context); }
    ~State() { mbedtls_md_free(&context); }
    void start() {
        check(mbedtls_md_setup(&context, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 0) == 0);
        check(mbedtls_md_starts(&context) == 0);
    }
    void update(const void *data, size_t bytes) {
        check(mbedtls_md_update(&context, static_cast<const unsigned char *>(data), bytes) == 0);
    }
    void finish(unsigned char *digest) { check(mbedtls_md_finish(&context, digest) == 0); }
};

#endif

Sha256::Sha256() : state_(new State) {
    state_->start();
}
Sha256::~Sha256() = default;

void Sha256::update(const void *data, size_t bytes) {
    state_->update(data, bytes);
}

std::string Sha256::hex() {
    unsigned char digest[digest_bytes];
    state_->finish(digest);
    std::string text;
    for (const unsigned char byte : digest) {
        text += "0123456789abcdef"[byte >> 4];
        text += "0123456789abcdef"[byte & 15];
    }
    return text;
}

} // namespace yq
