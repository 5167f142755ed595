# SPDX-License-Identifier: Apache-2.0
# The product's libraries once more, from the same objects, with every allocation of ours redirected to counted.c.

set(wrapped malloc calloc realloc aligned_alloc memalign posix_memalign strdup
  _Znwm _Znam _ZnwmRKSt9nothrow_t _ZnamRKSt9nothrow_t _ZnwmSt11align_val_t _ZnamSt11align_val_t
  _ZnwmSt11align_val_tRKSt9nothrow_t _ZnamSt11align_val_tRKSt9nothrow_t)
list(TRANSFORM wrapped PREPEND -Wl,--wrap=)

if(YOLOQ_CPU)
  find_package(OpenVINO REQUIRED COMPONENTS Runtime) # its targets are known only where they were looked for
endif()
foreach(original yoloq yoloq_dummy yoloq_cpu yoloq_sophgo yoloq_rockchip yoloq_ascend)
  if(NOT TARGET ${original})
    continue()
  endif()
  get_target_property(type ${original} TYPE)
  get_target_property(folder ${original} SOURCE_DIR)
  get_target_property(sources ${original} SOURCES)
  get_target_property(libraries ${original} LINK_LIBRARIES)
  get_target_property(includes ${original} INCLUDE_DIRECTORIES)
  get_target_property(rpath ${original} BUILD_RPATH)
  list(TRANSFORM sources PREPEND ${folder}/)
  string(REPLACE "_LIBRARY" "" type ${type})
  add_library(${original}_counted ${type} ${sources} counted.c)
  target_link_libraries(${original}_counted PRIVATE ${libraries})
  if(includes)
    target_include_directories(${original}_counted PRIVATE ${includes})
  endif()
  target_link_options(${original}_counted PRIVATE ${wrapped})
  yoloq_export_only(${original}_counted cmake/testing)
  set_target_properties(${original}_counted PROPERTIES
    OUTPUT_NAME ${original} PREFIX "${CMAKE_SHARED_LIBRARY_PREFIX}" C_STANDARD 11
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/counted)
  if(rpath)
    set_target_properties(${original}_counted PROPERTIES BUILD_RPATH ${rpath})
  endif()
endforeach()
target_include_directories(yoloq_counted PUBLIC ${CMAKE_SOURCE_DIR}/include)

add_executable(yoloq_count count.c pictures.c)
target_link_libraries(yoloq_count PRIVATE yoloq_counted yoloq_options ${CMAKE_DL_LIBS})
set_target_properties(yoloq_count PROPERTIES
  C_STANDARD 11 ENABLE_EXPORTS ON RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/counted)
