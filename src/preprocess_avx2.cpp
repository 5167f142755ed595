// SPDX-License-Identifier: Apache-2.0
// The letterbox's inner loops for AVX2; cmake/kernels.cmake sets this file's flags.
#define YOLOQ_KERNELS kernels_avx2
#define YOLOQ_KERNELS_NAME "avx2"
#include "preprocess_kernels.inl"
