# SPDX-License-Identifier: Apache-2.0
# An installed tree that find_package(yoloq) and pkg-config understand.
include(CMakePackageConfigHelpers)

install(TARGETS yoloq EXPORT yoloq
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES include/yoloq.h include/yoloq_backend.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT yoloq FILE yoloqTargets.cmake NAMESPACE yoloq:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/yoloq)

configure_package_config_file(cmake/yoloqConfig.cmake.in ${CMAKE_BINARY_DIR}/yoloqConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/yoloq)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/yoloqConfigVersion.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_BINARY_DIR}/yoloqConfig.cmake ${CMAKE_BINARY_DIR}/yoloqConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/yoloq)

configure_file(cmake/yoloq.pc.in ${CMAKE_BINARY_DIR}/yoloq.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/yoloq.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# What is compiled in, as Debian's packages tell its licences; for Windows tools/windows.py adds them.
if(NOT WIN32)
  set(parts nlohmann-json3-dev nlohmann-json libmbedtls-dev mbedtls libstdc++6 gcc-runtime)
  while(parts)
    list(POP_FRONT parts package name)
    install(FILES /usr/share/doc/${package}/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR}/third-party
      RENAME ${name}.txt OPTIONAL)
  endwhile()
endif()
