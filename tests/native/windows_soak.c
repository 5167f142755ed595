/* SPDX-License-Identifier: Apache-2.0 */
/* Runs for long and watches the process, as 7 x 24 on Windows asks: private memory, handles, threads.
 *
 *     yoloq_soak calls|lives|threads|leak BACKEND PACKAGE COUNT
 *
 * calls: one detector, four threads that compete for one stream; lives: detectors one after the other; threads: a new
 * thread for each call, which fails; leak: lives that are never ended, to show that it is seen. Prints 40 samples, a
 * line each: done, private KiB, handles, threads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <windows.h>

#include <psapi.h>
#include <tlhelp32.h>
#include <winternl.h>

#include "yoloq.h"

enum { WORKERS = 4, SAMPLES = 40 };

static unsigned char pixels[320 * 240 * 3];
static char package[2048], backend[64];

static void must(int32_t status, const char *what) {
    if (status == YQ_OK) return;
    fprintf(stderr, "%s: %s\n", what, yq_last_error());
    ExitProcess(1);
}

static unsigned count_threads(void) {
    THREADENTRY32 entry = {.dwSize = sizeof entry};
    unsigned count = 0;
    const HANDLE list = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    for (BOOL more = Thread32First(list, &entry); more; more = Thread32Next(list, &entry))
        count += entry.th32OwnerProcessID == GetCurrentProcessId();
    CloseHandle(list);
    return count;
}

/* The system's list of all handles: Wine has no GetProcessHandleCount. */
typedef struct handle_list {
    ULONG_PTR count, reserved;
    struct {
        void *object;
        ULONG_PTR process, handle;
        ULONG access;
        USHORT trace, type;
        ULONG attributes, unused;
    } each[1];
} handle_list;

static unsigned count_handles(void) {
    enum { extended_handle_information = 64, room = 16 << 20 };
    static handle_list *list = NULL; /* kept: it must not look like growth */
    unsigned count = 0;
    if (!list) list = malloc(room);
    if (NtQuerySystemInformation((SYSTEM_INFORMATION_CLASS)extended_handle_information, list, room, NULL) != 0)
        return 0;
    for (ULONG_PTR i = 0; i < list->count; ++i) count += list->each[i].process == GetCurrentProcessId();
    return count;
}

static void sample(int done) {
    PROCESS_MEMORY_COUNTERS memory = {.cb = sizeof memory};
    GetProcessMemoryInfo(GetCurrentProcess(), &memory, sizeof memory);
    printf("%d %llu %u %u\n", done, (unsigned long long)memory.PagefileUsage / 1024, count_handles(), count_threads());
    fflush(stdout);
}

static yq_detector *make(void) {
    yq_detector *detector = NULL;
    yq_options options;
    yq_options_init(&options, sizeof options);
    options.backend = backend;
    options.streams = 1;
    must(yq_create(&detector, package, &options), "yq_create");
    return detector;
}

static int32_t infer(yq_detector *detector) {
    yq_detection found[300];
    uint32_t count = 0;
    yq_image image;
    yq_image_init(&image, sizeof image);
    image.format = YQ_FORMAT_BGR24;
    image.width = 320;
    image.height = 240;
    image.data = pixels;
    return yq_infer(detector, &image, NULL, found, 300, &count);
}

typedef struct work {
    yq_detector *detector;
    int calls;
} work;

static DWORD WINAPI call_often(void *argument) {
    const work *mine = argument;
    for (int i = 0; i < mine->calls; ++i) must(infer(mine->detector), "yq_infer");
    return 0;
}

static DWORD WINAPI call_wrongly(void *argument) {
    (void)argument;
    return infer(NULL) == YQ_EINVAL ? 0 : 1;
}

static void run_together(LPTHREAD_START_ROUTINE body, void *argument) {
    HANDLE threads[WORKERS];
    for (int i = 0; i < WORKERS; ++i) threads[i] = CreateThread(NULL, 0, body, argument, 0, NULL);
    WaitForMultipleObjects(WORKERS, threads, TRUE, INFINITE);
    for (int i = 0; i < WORKERS; ++i) CloseHandle(threads[i]);
}

static void run_step(const wchar_t *kind, yq_detector *shared, int calls) {
    work each = {shared, calls / WORKERS};
    if (wcscmp(kind, L"calls") == 0) {
        run_together(call_often, &each);
    } else if (wcscmp(kind, L"threads") == 0) {
        for (int i = 0; i < calls; i += WORKERS) run_together(call_wrongly, NULL);
    } else {
        for (int i = 0; i < calls; ++i) {
            yq_detector *detector = make();
            must(infer(detector), "yq_infer");
            if (wcscmp(kind, L"lives") == 0) yq_destroy(detector);
        }
    }
}

int wmain(int argc, wchar_t **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: yoloq_soak calls|lives|threads|leak BACKEND PACKAGE COUNT\n");
        return 2;
    }
    WideCharToMultiByte(CP_UTF8, 0, argv[2], -1, backend, sizeof backend, NULL, NULL);
    WideCharToMultiByte(CP_UTF8, 0, argv[3], -1, package, sizeof package, NULL, NULL);
    const int count = _wtoi(argv[4]), step = count / SAMPLES;
    yq_detector *shared = wcscmp(argv[1], L"calls") == 0 ? make() : NULL;
    for (int done = step; done <= count; done += step) {
        run_step(argv[1], shared, step);
        sample(done);
    }
    yq_destroy(shared);
    return 0;
}
