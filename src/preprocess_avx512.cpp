// SPDX-License-Identifier: Apache-2.0
// The letterbox's inner loops for AVX-512BW; cmake/kernels.cmake sets this file's flags.
#define YOLOQ_KERNELS kernels_avx512
#define YOLOQ_KERNELS_NAME "avx512"
#include "preprocess_kernels.inl"
