// SPDX-License-Identifier: Apache-2.0
// The letterbox's inner loops for SSE4.1; cmake/kernels.cmake sets this file's flags.
#define YOLOQ_KERNELS kernels_sse41
#define YOLOQ_KERNELS_NAME "sse41"
#include "preprocess_kernels.inl"
