# SPDX-License-Identifier: Apache-2.0
# What only DLLs have: file names without "lib", a version resource, an import library that every linker takes.

# Gives a DLL the properties that Windows Explorer shows, by the project's version.
function(yoloq_describe target description)
  if(NOT WIN32)
    return()
  endif()
  set(YOLOQ_DESCRIPTION "${description}")
  set(YOLOQ_FILE "${target}.dll")
  configure_file(${CMAKE_SOURCE_DIR}/cmake/version.rc.in ${CMAKE_CURRENT_BINARY_DIR}/${target}.rc @ONLY)
  target_sources(${target} PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/${target}.rc)
endfunction()

if(NOT WIN32)
  return()
endif()
enable_language(RC)
set(CMAKE_SHARED_LIBRARY_PREFIX "")

if(MINGW)
  # GNU's import libraries break Microsoft's linker under /OPT:REF, its default in release builds. LLVM's are of the
  # form that Microsoft's own tools write, and GNU's linker takes them too.
  find_program(YOLOQ_DLLTOOL llvm-dlltool REQUIRED DOC "llvm")
  set(CMAKE_IMPORT_LIBRARY_PREFIX "")
  set(CMAKE_IMPORT_LIBRARY_SUFFIX ".lib")
  function(yoloq_import_library target list)
    add_custom_command(TARGET ${target} POST_BUILD VERBATIM COMMAND
      ${YOLOQ_DLLTOOL} -m i386:x86-64 -d ${CMAKE_SOURCE_DIR}/${list}.def -l $<TARGET_LINKER_FILE:${target}>)
  endfunction()
endif()
