/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures in memory of exactly their size between two unreadable pages: a read outside ends the process. */
#ifndef YOLOQ_TESTS_PICTURES_H
#define YOLOQ_TESTS_PICTURES_H

#include <stddef.h>
#include <stdint.h>

#include "yoloq.h"

typedef enum picture_side { LEANS_ON_END, LEANS_ON_BEGIN } picture_side; /* which unreadable page it touches */

typedef struct guarded {
    unsigned char *data, *mapping;
    size_t bytes, mapped;
} guarded;

typedef struct picture {
    yq_image image; /* ready for yq_infer */
    guarded planes[2];
} picture;

guarded guarded_make(size_t bytes, picture_side side);
void guarded_free(guarded *memory);

/* Noise by `seed`. padding: bytes added to each row, but not behind the last; bottom_up: negative strides. */
picture picture_make(int32_t format, int32_t width, int32_t height, int32_t padding, int bottom_up, picture_side side,
                     uint32_t seed);
picture picture_simple(int32_t width, int32_t height, uint32_t seed); /* BGR24, packed */
void picture_free(picture *image);

#endif
