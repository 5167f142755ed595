/* SPDX-License-Identifier: Apache-2.0 */
#define _DEFAULT_SOURCE
#include "pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

#ifdef _WIN32

static size_t page_bytes(void) {
    SYSTEM_INFO about;
    GetSystemInfo(&about);
    return about.dwPageSize;
}

static unsigned char *map_between_guards(size_t mapped, size_t page) {
    unsigned char *mapping = VirtualAlloc(NULL, mapped, MEM_RESERVE, PAGE_NOACCESS);
    if (!mapping || mapped == 2 * page) return mapping;
    return VirtualAlloc(mapping + page, mapped - 2 * page, MEM_COMMIT, PAGE_READWRITE) ? mapping : NULL;
}

static void unmap(unsigned char *mapping, size_t mapped) {
    (void)mapped;
    VirtualFree(mapping, 0, MEM_RELEASE);
}

#else

static size_t page_bytes(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

static unsigned char *map_between_guards(size_t mapped, size_t page) {
    unsigned char *mapping = mmap(NULL, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) return NULL;
    return mprotect(mapping + page, mapped - 2 * page, PROT_READ | PROT_WRITE) == 0 ? mapping : NULL;
}

static void unmap(unsigned char *mapping, size_t mapped) {
    munmap(mapping, mapped);
}

#endif

guarded guarded_make(size_t bytes, picture_side side) {
    const size_t page = page_bytes();
    const size_t inside = (bytes + page - 1) / page * page;
    guarded memory = {NULL, NULL, bytes, inside + 2 * page};
    memory.mapping = map_between_guards(memory.mapped, page);
    if (!memory.mapping) {
        perror("guarded memory");
        exit(1);
    }
    memory.data = memory.mapping + page + (side == LEANS_ON_END ? inside - bytes : 0);
    return memory;
}

void guarded_free(guarded *memory) {
    if (memory->mapping) unmap(memory->mapping, memory->mapped);
    memset(memory, 0, sizeof *memory);
}

/* Fills a plane with noise and finds its top row and stride. */
static guarded plane_make(size_t row, int32_t rows, int32_t padding, int bottom_up, picture_side side, uint32_t *seed,
                          const void **top, int64_t *stride) {
    const size_t step = row + (size_t)padding;
    guarded plane = guarded_make(step * (size_t)(rows - 1) + row, side);
    for (size_t i = 0; i < plane.bytes; ++i) {
        *seed = *seed * 1664525u + 1013904223u;
        plane.data[i] = (unsigned char)(*seed >> 24);
    }
    *top = bottom_up ? plane.data + step * (size_t)(rows - 1) : plane.data;
    *stride = bottom_up ? -(int64_t)step : (int64_t)step;
    return plane;
}

static size_t pixel_bytes(int32_t format) {
    if (format == YQ_FORMAT_BGR24 || format == YQ_FORMAT_RGB24) return 3;
    return format == YQ_FORMAT_BGRA32 || format == YQ_FORMAT_RGBA32 ? 4 : 1;
}

picture picture_make(int32_t format, int32_t width, int32_t height, int32_t padding, int bottom_up, picture_side side,
                     uint32_t seed) {
    picture made;
    memset(&made, 0, sizeof made);
    yq_image_init(&made.image, sizeof made.image);
    made.image.format = format;
    made.image.width = width;
    made.image.height = height;
    made.planes[0] = plane_make((size_t)width * pixel_bytes(format), height, padding, bottom_up, side, &seed,
                                &made.image.data, &made.image.stride);
    if (format == YQ_FORMAT_NV12)
        made.planes[1] = plane_make((size_t)width, height / 2, padding, bottom_up, side, &seed, &made.image.data2,
                                    &made.image.stride2);
    return made;
}

picture picture_simple(int32_t width, int32_t height, uint32_t seed) {
    return picture_make(YQ_FORMAT_BGR24, width, height, 0, 0, LEANS_ON_END, seed);
}

void picture_free(picture *image) {
    guarded_free(&image->planes[0]);
    guarded_free(&image->planes[1]);
}
