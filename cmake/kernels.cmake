# SPDX-License-Identifier: Apache-2.0
# The letterbox's source files, and the flags of those that are compiled for one instruction set each.
# Sets YOLOQ_PREPROCESS_SOURCES (absolute paths). Include it in the directory that builds them: source properties
# belong to a directory.

set(YOLOQ_SOURCE_DIR "${CMAKE_CURRENT_LIST_DIR}/../src")
cmake_path(NORMAL_PATH YOLOQ_SOURCE_DIR)
set(YOLOQ_PREPROCESS_SOURCES
    "${YOLOQ_SOURCE_DIR}/image.cpp"
    "${YOLOQ_SOURCE_DIR}/preprocess.cpp"
    "${YOLOQ_SOURCE_DIR}/preprocess_generic.cpp")

# Elsewhere (ARM, and MSVC without these flags) the generic kernels do the work.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64|i[3-6]86)$" AND CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang"
   AND NOT CMAKE_CXX_COMPILER_FRONTEND_VARIANT STREQUAL "MSVC")
    set(YOLOQ_KERNEL_FLAGS_sse41 -msse4.1)
    set(YOLOQ_KERNEL_FLAGS_avx2 -mavx2)
    foreach(isa sse41 avx2)
        set(source "${YOLOQ_SOURCE_DIR}/preprocess_${isa}.cpp")
        set(flags ${YOLOQ_KERNEL_FLAGS_${isa}})
        if(MINGW AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND isa STREQUAL "avx2")
            # GCC aligns the stack to 16 bytes on 64-bit Windows, yet spills wider vectors with aligned moves (GCC bug
            # 54412). The assembler can make those moves unaligned.
            list(APPEND flags -Wa,-muse-unaligned-vector-move)
        endif()
        set_source_files_properties("${source}" PROPERTIES COMPILE_OPTIONS "${flags}")
        list(APPEND YOLOQ_PREPROCESS_SOURCES "${source}")
    endforeach()
    set_source_files_properties("${YOLOQ_SOURCE_DIR}/preprocess.cpp" PROPERTIES COMPILE_DEFINITIONS YOLOQ_X86_KERNELS)
endif()
