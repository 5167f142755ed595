# SPDX-License-Identifier: Apache-2.0
# Installs, beside our modules, the OpenVINO libraries that reading ONNX and running on the CPU take; the IR front end
# reads the compiled-model cache. Wants openvino_libs, the folder they lie in.

set(bundle "")
foreach(name openvino_c openvino openvino_intel_cpu_plugin openvino_onnx_frontend openvino_ir_frontend tbb)
  set(file "${openvino_libs}/${CMAKE_SHARED_LIBRARY_PREFIX}${name}")
  file(GLOB found "${file}${CMAKE_SHARED_LIBRARY_SUFFIX}" "${file}${CMAKE_SHARED_LIBRARY_SUFFIX}.[0-9]*"
    "${file}12${CMAKE_SHARED_LIBRARY_SUFFIX}") # the last: TBB on Windows
  if(NOT found)
    message(FATAL_ERROR "there is no ${name} in ${openvino_libs}: reinstall OpenVINO or set YOLOQ_BUNDLE_OPENVINO to OFF")
  endif()
  list(APPEND bundle ${found})
endforeach()

if(WIN32)
  # Microsoft's C++ runtime, which OpenVINO's DLLs need: from a folder when cross-compiling, else the compiler's own.
  if(YOLOQ_MSVC_RUNTIME)
    foreach(name msvcp140 vcruntime140 vcruntime140_1)
      list(APPEND bundle ${YOLOQ_MSVC_RUNTIME}/${name}.dll)
    endforeach()
  elseif(MSVC)
    set(CMAKE_INSTALL_SYSTEM_RUNTIME_DESTINATION ${CMAKE_INSTALL_BINDIR})
    include(InstallRequiredSystemLibraries)
  endif()
  install(FILES ${bundle} DESTINATION ${CMAKE_INSTALL_BINDIR})
else()
  install(PROGRAMS ${bundle} DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()

# Their licences go along. The wheel keeps them in its metadata, other distributions elsewhere.
file(GLOB licences "${openvino_libs}/../../openvino-*.dist-info/licenses")
if(licences)
  install(DIRECTORY ${licences}/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/openvino)
endif()
