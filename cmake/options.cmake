# SPDX-License-Identifier: Apache-2.0
# Compiler settings shared by everything of ours, and what a library exports.
add_library(yoloq_options INTERFACE)
if(WIN32)
  target_compile_definitions(yoloq_options INTERFACE NOMINMAX WIN32_LEAN_AND_MEAN _CRT_SECURE_NO_WARNINGS)
endif()
if(MSVC)
  target_compile_options(yoloq_options INTERFACE /W4 /utf-8)
else()
  # No fused multiply-add where the source has none: results are the same bytes on every CPU.
  target_compile_options(yoloq_options INTERFACE
    -Wall -Wextra -Wshadow -Wno-missing-field-initializers -ffp-contract=off)
endif()
if(YOLOQ_SANITIZE)
  target_compile_options(yoloq_options INTERFACE
    -fsanitize=${YOLOQ_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  target_link_options(yoloq_options INTERFACE -fsanitize=${YOLOQ_SANITIZE})
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # The C++ runtime goes inside, so that a host with another one does not matter.
  target_link_options(yoloq_options INTERFACE -static-libgcc -static-libstdc++)
  if(MINGW) # -static: winpthread too. No time of the build, so that the same sources give the same bytes.
    target_link_options(yoloq_options INTERFACE -static -Wl,--no-insert-timestamp)
    target_compile_definitions(yoloq_options INTERFACE __USE_MINGW_ANSI_STDIO=1) # printf as C99 has it
  endif()
endif()

# Exports exactly what `list`.map names (on Windows `list`.def, if there is one, and __declspec), and nothing of the
# static libraries inside.
function(yoloq_export_only target list)
  set(map ${list}.map)
  if(UNIX AND NOT APPLE)
    target_link_options(${target} PRIVATE
      -Wl,--version-script=${CMAKE_SOURCE_DIR}/${map} -Wl,--exclude-libs,ALL -Wl,--gc-sections)
    if(NOT YOLOQ_SANITIZE)
      target_link_options(${target} PRIVATE -Wl,-z,defs)
    endif()
    set_target_properties(${target} PROPERTIES LINK_DEPENDS ${CMAKE_SOURCE_DIR}/${map})
  elseif(WIN32 AND EXISTS ${CMAKE_SOURCE_DIR}/${list}.def)
    target_sources(${target} PRIVATE ${CMAKE_SOURCE_DIR}/${list}.def)
  endif()
endfunction()
