/* SPDX-License-Identifier: Apache-2.0 */
/* Linked into a library of ours whose calls of the allocators the linker redirects here (--wrap): counts what our
 * objects, and the C++ runtime inside the library, allocate while it is armed. Each library has a counter of its own.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

static atomic_int armed;
static atomic_ullong counted;
static _Thread_local int inside; /* operator new calls malloc: one allocation */

__attribute__((visibility("default"))) void yqt_arm(int on) {
    armed = on;
}
__attribute__((visibility("default"))) uint64_t yqt_allocations(void) {
    return counted;
}

#define COUNTED(name, parameters, arguments)                                                                           \
    void *__real_##name parameters;                                                                                    \
    void *__wrap_##name parameters;                                                                                    \
    void *__wrap_##name parameters {                                                                                   \
        if (armed && !inside) ++counted;                                                                               \
        ++inside;                                                                                                      \
        void *memory = __real_##name arguments;                                                                        \
        --inside;                                                                                                      \
        return memory;                                                                                                 \
    }

COUNTED(malloc, (size_t size), (size))
COUNTED(calloc, (size_t count, size_t size), (count, size))
COUNTED(realloc, (void *memory_in, size_t size), (memory_in, size))
COUNTED(aligned_alloc, (size_t alignment, size_t size), (alignment, size))
COUNTED(memalign, (size_t alignment, size_t size), (alignment, size))
COUNTED(strdup, (const char *text), (text))
/* operator new and new[]: plain, nothrow, aligned, aligned nothrow. They throw: the depth goes back by itself only if
 * they return, so an exception leaves this thread uncounted; out of memory ends the test anyway. */
COUNTED(_Znwm, (size_t size), (size))
COUNTED(_Znam, (size_t size), (size))
COUNTED(_ZnwmRKSt9nothrow_t, (size_t size, const void *tag), (size, tag))
COUNTED(_ZnamRKSt9nothrow_t, (size_t size, const void *tag), (size, tag))
COUNTED(_ZnwmSt11align_val_t, (size_t size, size_t alignment), (size, alignment))
COUNTED(_ZnamSt11align_val_t, (size_t size, size_t alignment), (size, alignment))
COUNTED(_ZnwmSt11align_val_tRKSt9nothrow_t, (size_t size, size_t alignment, const void *tag), (size, alignment, tag))
COUNTED(_ZnamSt11align_val_tRKSt9nothrow_t, (size_t size, size_t alignment, const void *tag), (size, alignment, tag))

int __real_posix_memalign(void **out, size_t alignment, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size) {
    if (armed && !inside) ++counted;
    return __real_posix_memalign(out, alignment, size);
}
