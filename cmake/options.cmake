# SPDX-License-Identifier: Apache-2.0
# Compiler settings shared by everything of ours, and what a library exports.
add_library(yoloq_options INTERFACE)
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
endif()

# Exports exactly what `map` names, and nothing of the static libraries inside.
function(yoloq_export_only target map)
  if(UNIX AND NOT APPLE)
    target_link_options(${target} PRIVATE
      -Wl,--version-script=${CMAKE_SOURCE_DIR}/${map} -Wl,--exclude-libs,ALL -Wl,--gc-sections)
    if(NOT YOLOQ_SANITIZE)
      target_link_options(${target} PRIVATE -Wl,-z,defs)
    endif()
    set_target_properties(${target} PROPERTIES LINK_DEPENDS ${CMAKE_SOURCE_DIR}/${map})
  endif()
endfunction()
