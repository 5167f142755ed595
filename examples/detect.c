/* SPDX-License-Identifier: Apache-2.0 */
/* Prints what a package finds in a picture.
 *
 *     detect PACKAGE PICTURE [BACKEND]               a binary PPM (P6) or PGM (P5) of 8 bits
 *     detect PACKAGE PICTURE WIDTHxHEIGHT [BACKEND]  raw BGR, three bytes a pixel, no gaps
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#endif

#include <yoloq.h>

enum { ROOM = 300 };

#ifdef _WIN32

/* Windows has paths in UTF-16, yoloq in UTF-8. */
static FILE *open_file(const char *path) {
    wchar_t wide[1024];
    return MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 1024) ? _wfopen(wide, L"rb") : NULL;
}

#else

static FILE *open_file(const char *path) {
    return fopen(path, "rb");
}

#endif

static int complain(const char *what, const char *why) {
    fprintf(stderr, "detect: %s: %s\n", what, why);
    return 0;
}

/* A number of a PPM header; blanks and comments before it are skipped. -1 if there is none. */
static int read_number(FILE *file) {
    int value = 0, c = fgetc(file);
    while (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '#') {
        if (c == '#')
            while (c != '\n' && c != EOF) c = fgetc(file);
        c = fgetc(file);
    }
    if (c < '0' || c > '9') return -1;
    for (; c >= '0' && c <= '9' && value < 100000; c = fgetc(file)) value = value * 10 + (c - '0');
    return value; /* and the one blank behind it is gone */
}

/* Reads the pixels that `image` describes; the caller frees them. NULL if the file is too short. */
static unsigned char *read_pixels(FILE *file, yq_image *image) {
    const size_t channels = image->format == YQ_FORMAT_GRAY8 ? 1 : 3;
    const size_t bytes = (size_t)image->width * (size_t)image->height * channels;
    unsigned char *pixels = malloc(bytes);
    if (pixels && fread(pixels, 1, bytes, file) == bytes) {
        image->data = pixels;
        return pixels;
    }
    free(pixels);
    return NULL;
}

/* Fills `image` from a file. size: "640x480" for raw BGR, NULL for PPM and PGM. Returns the pixels, NULL on failure. */
static unsigned char *read_picture(const char *path, const char *size, yq_image *image) {
    unsigned char *pixels = NULL;
    int most = 255;
    FILE *file = open_file(path);
    if (!file) {
        perror(path);
        return NULL;
    }
    yq_image_init(image, sizeof *image);
    if (size) {
        image->format = YQ_FORMAT_BGR24;
        sscanf(size, "%dx%d", &image->width, &image->height);
    } else if (fgetc(file) == 'P') {
        const int kind = fgetc(file);
        image->format = kind == '6' ? YQ_FORMAT_RGB24 : kind == '5' ? YQ_FORMAT_GRAY8 : 0;
        image->width = read_number(file);
        image->height = read_number(file);
        most = read_number(file);
    }
    if (image->format == 0 || most != 255)
        complain(path, "no binary PPM or PGM of 8 bits; for raw BGR give its size, such as 640x480");
    else if (image->width < 1 || image->width > YQ_MAX_IMAGE_SIDE || image->height < 1 ||
             image->height > YQ_MAX_IMAGE_SIDE)
        complain(path, "the size is impossible");
    else if (!(pixels = read_pixels(file, image)))
        complain(path, "the file is too short for its size");
    fclose(file);
    return pixels;
}

static int detect(yq_detector *detector, const yq_image *image) {
    yq_detection found[ROOM];
    yq_call call;
    uint32_t count = 0;
    yq_call_init(&call, sizeof call);
    if (yq_infer(detector, image, &call, found, ROOM, &count) != YQ_OK) return complain("yq_infer", yq_last_error());
    for (uint32_t i = 0; i < count; ++i)
        printf("%s %.4f %.2f %.2f %.2f %.2f\n", yq_class_name(detector, found[i].class_id), found[i].score, found[i].x1,
               found[i].y1, found[i].x2, found[i].y2);
    fprintf(stderr, "%u of %u detections; letterbox %.2f ms, engine %.2f ms, decode %.2f ms\n", count, call.found,
            call.preprocess_ms, call.engine_ms, call.decode_ms);
    return 1;
}

static int run(int argc, char **argv) {
    yq_detector *detector = NULL;
    yq_options options;
    yq_image image;
    int width, height, done = 0;
    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: detect PACKAGE PICTURE [WIDTHxHEIGHT] [BACKEND]\n");
        return 2;
    }
    const int raw = argc > 3 && sscanf(argv[3], "%dx%d", &width, &height) == 2;
    unsigned char *pixels = read_picture(argv[2], raw ? argv[3] : NULL, &image);
    if (!pixels) return 1;
    yq_options_init(&options, sizeof options);
    options.backend = argc > 3 + raw ? argv[3 + raw] : NULL; /* NULL: the package's */
    if (yq_create(&detector, argv[1], &options) == YQ_OK)
        done = detect(detector, &image);
    else
        complain("yq_create", yq_last_error());
    yq_destroy(detector);
    free(pixels);
    return done ? 0 : 1;
}

#ifdef _WIN32

int wmain(int argc, wchar_t **wide) {
    static char texts[8][4096];
    char *argv[8];
    for (int i = 0; i < argc && i < 8; ++i) {
        WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, texts[i], sizeof texts[i], NULL, NULL);
        argv[i] = texts[i];
    }
    SetConsoleOutputCP(CP_UTF8);
    return run(argc, argv);
}

#else

int main(int argc, char **argv) {
    return run(argc, argv);
}

#endif
