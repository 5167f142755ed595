/* SPDX-License-Identifier: Apache-2.0 */
/* A host that knows yoloq.dll by its path alone, as .NET's DllImport does; paths of any characters.
 *
 *     yoloq_load DLL [PACKAGE BACKEND CACHE [EARLIER.dll]...]
 *
 * Prints the backends, then what the package finds in a black picture of 64 x 48 pixels. CACHE: a folder for compiled
 * models, or -. EARLIER is loaded first. */
#include <stdio.h>
#include <string.h>

#include <windows.h>

#include "yoloq.h"

static HMODULE library;

#define FUNCTION(name) ((__typeof__(&name))(void *)GetProcAddress(library, #name))

static int complain(const char *what) {
    fprintf(stderr, "%s: %s\n", what, FUNCTION(yq_last_error)());
    return 1;
}

static void print_backends(void) {
    const uint32_t count = FUNCTION(yq_backend_count)();
    for (uint32_t i = 0; i < count; ++i) {
        yq_backend_desc about;
        memset(&about, 0, sizeof about);
        about.size = sizeof about;
        FUNCTION(yq_backend_info)(i, &about);
        printf("%s\t%d\t%s\t%s\n", about.name, about.usable, about.version, about.reason);
    }
}

static int detect(const char *package, const char *backend, const char *cache) {
    static unsigned char pixels[64 * 48];
    yq_detector *detector = NULL;
    yq_detection found[10];
    uint32_t count = 0;
    yq_options options;
    yq_image image;
    FUNCTION(yq_options_init)(&options, sizeof options);
    FUNCTION(yq_image_init)(&image, sizeof image);
    options.backend = backend;
    options.cache_dir = strcmp(cache, "-") == 0 ? NULL : cache;
    image.format = YQ_FORMAT_GRAY8;
    image.width = 64;
    image.height = 48;
    image.data = pixels;
    if (FUNCTION(yq_create)(&detector, package, &options) != YQ_OK) return complain("yq_create");
    if (FUNCTION(yq_infer)(detector, &image, NULL, found, 10, &count) != YQ_OK) return complain("yq_infer");
    printf("%u detections, first class %s\n", count, FUNCTION(yq_class_name)(detector, 0));
    FUNCTION(yq_destroy)(detector);
    return 0;
}

int wmain(int argc, wchar_t **argv) {
    static char texts[3][2048];
    if (argc != 2 && argc < 5) {
        fprintf(stderr, "usage: yoloq_load DLL [PACKAGE BACKEND CACHE [EARLIER.dll]...]\n");
        return 2;
    }
    for (int i = 5; i < argc; ++i)
        if (!LoadLibraryExW(argv[i], NULL, LOAD_WITH_ALTERED_SEARCH_PATH)) {
            fprintf(stderr, "%ls: error %lu\n", argv[i], GetLastError());
            return 2;
        }
    library = LoadLibraryExW(argv[1], NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
    if (!library) {
        fprintf(stderr, "yoloq.dll: error %lu\n", GetLastError());
        return 2;
    }
    print_backends();
    if (argc == 2) return 0;
    for (int i = 0; i < 3; ++i) WideCharToMultiByte(CP_UTF8, 0, argv[2 + i], -1, texts[i], sizeof texts[i], NULL, NULL);
    return detect(texts[0], texts[1], texts[2]);
}
