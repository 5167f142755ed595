// SPDX-License-Identifier: Apache-2.0
// What the ascend backend uses of AscendCL and DCMI. The declarations are ours; the tests hold AscendCL's against the
// vendor's real headers (tests/ascend_headers.py), prototype by prototype and constant by constant. DCMI's follow the
// public header of Ascend's driver, which the tests cannot have.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ascend {

// ---------------------------------------------------------------------------------------------------- vendor's types

struct Desc;       // aclmdlDesc
struct Dataset;    // aclmdlDataset
struct DataBuffer; // aclDataBuffer
using Context = void *;
using Stream = void *;

struct IODims { // aclmdlIODims
    char name[128];
    size_t rank;
    int64_t dims[128];
};

struct Utilization { // aclrtUtilizationInfo, in percent; -1 where there is no such unit
    int32_t cube, vector, aicpu, memory;
    void *reserved; // must be null
};

struct DeviceMemory { // dcmi_get_memory_info_stru; sizes in MB
    unsigned long long size, available;
    unsigned int frequency;
    unsigned long hugepage_kb, hugepages, hugepages_free;
    unsigned int utilization;
    unsigned char reserved[60];
};

struct HbmMemory { // dcmi_hbm_info; sizes in MB
    unsigned long long size;
    unsigned int frequency;
    unsigned long long used;
    int temperature;
    unsigned int bandwidth_utilization;
};

// our name, the vendor's, value
#define ASCEND_CONSTANTS(CONSTANT)                                                                                     \
    CONSTANT(on_device, ACL_DEVICE, 0)                                                                                 \
    CONSTANT(on_host, ACL_HOST, 1)                                                                                     \
    CONSTANT(huge_first, ACL_MEM_MALLOC_HUGE_FIRST, 0)                                                                 \
    CONSTANT(host_to_device, ACL_MEMCPY_HOST_TO_DEVICE, 1)                                                             \
    CONSTANT(device_to_host, ACL_MEMCPY_DEVICE_TO_HOST, 2)                                                             \
    CONSTANT(type_float32, ACL_FLOAT, 0)                                                                               \
    CONSTANT(type_float16, ACL_FLOAT16, 1)                                                                             \
    CONSTANT(type_int8, ACL_INT8, 2)                                                                                   \
    CONSTANT(type_uint8, ACL_UINT8, 4)                                                                                 \
    CONSTANT(format_nhwc, ACL_FORMAT_NHWC, 1)                                                                          \
    CONSTANT(format_nd, ACL_FORMAT_ND, 2)                                                                              \
    CONSTANT(success, ACL_SUCCESS, 0)

#define ASCEND_CONSTANT(name, vendor_name, value) constexpr int name = value;
ASCEND_CONSTANTS(ASCEND_CONSTANT)
#undef ASCEND_CONSTANT

// Codes that calls give; names as the vendor's documents have them.
#define ASCEND_CODES(CODE)                                                                                             \
    CODE(100000, ACL_ERROR_INVALID_PARAM)                                                                              \
    CODE(100001, ACL_ERROR_UNINITIALIZE)                                                                               \
    CODE(100002, ACL_ERROR_REPEAT_INITIALIZE)                                                                          \
    CODE(100003, ACL_ERROR_INVALID_FILE)                                                                               \
    CODE(100011, ACL_ERROR_INVALID_MODEL_ID)                                                                           \
    CODE(100012, ACL_ERROR_DESERIALIZE_MODEL)                                                                          \
    CODE(100013, ACL_ERROR_PARSE_MODEL)                                                                                \
    CODE(100014, ACL_ERROR_READ_MODEL_FAILURE)                                                                         \
    CODE(100015, ACL_ERROR_MODEL_SIZE_INVALID)                                                                         \
    CODE(100016, ACL_ERROR_MODEL_MISSING_ATTR)                                                                         \
    CODE(100017, ACL_ERROR_MODEL_INPUT_NOT_MATCH)                                                                      \
    CODE(100018, ACL_ERROR_MODEL_OUTPUT_NOT_MATCH)                                                                     \
    CODE(100019, ACL_ERROR_MODEL_NOT_DYNAMIC)                                                                          \
    CODE(100024, ACL_ERROR_OP_NOT_FOUND)                                                                               \
    CODE(100025, ACL_ERROR_OP_LOAD_FAILED)                                                                             \
    CODE(100037, ACL_ERROR_REPEAT_FINALIZE)                                                                            \
    CODE(107000, ACL_ERROR_RT_PARAM_INVALID)                                                                           \
    CODE(107001, ACL_ERROR_RT_INVALID_DEVICEID)                                                                        \
    CODE(107002, ACL_ERROR_RT_CONTEXT_NULL)                                                                            \
    CODE(107003, ACL_ERROR_RT_STREAM_CONTEXT)                                                                          \
    CODE(107004, ACL_ERROR_RT_MODEL_CONTEXT)                                                                           \
    CODE(107008, ACL_ERROR_RT_ADDR_UNALIGNED)                                                                          \
    CODE(107019, ACL_ERROR_RT_WAIT_TIMEOUT)                                                                            \
    CODE(107020, ACL_ERROR_RT_TASK_TIMEOUT)                                                                            \
    CODE(107022, ACL_ERROR_RT_DEVICE_TASK_ABORT)                                                                       \
    CODE(107023, ACL_ERROR_RT_STREAM_ABORT)                                                                            \
    CODE(145000, ACL_ERROR_GE_PARAM_INVALID)                                                                           \
    CODE(145001, ACL_ERROR_GE_EXEC_NOT_INIT)                                                                           \
    CODE(145002, ACL_ERROR_GE_EXEC_MODEL_PATH_INVALID)                                                                 \
    CODE(145003, ACL_ERROR_GE_EXEC_MODEL_ID_INVALID)                                                                   \
    CODE(145006, ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID)                                                            \
    CODE(145007, ACL_ERROR_GE_EXEC_MODEL_ADDR_INVALID)                                                                 \
    CODE(145020, ACL_ERROR_GE_FORMAT_INVALID)                                                                          \
    CODE(145021, ACL_ERROR_GE_SHAPE_INVALID)                                                                           \
    CODE(145022, ACL_ERROR_GE_DATATYPE_INVALID)                                                                        \
    CODE(148049, ACL_ERROR_INVALID_OPP_PATH)                                                                           \
    CODE(200000, ACL_ERROR_BAD_ALLOC)                                                                                  \
    CODE(200001, ACL_ERROR_API_NOT_SUPPORT)                                                                            \
    CODE(200002, ACL_ERROR_INVALID_DEVICE)                                                                             \
    CODE(200006, ACL_ERROR_FEATURE_UNSUPPORTED)                                                                        \
    CODE(207000, ACL_ERROR_RT_FEATURE_NOT_SUPPORT)                                                                     \
    CODE(207001, ACL_ERROR_RT_MEMORY_ALLOCATION)                                                                       \
    CODE(207004, ACL_ERROR_RT_NO_DEVICE)                                                                               \
    CODE(207005, ACL_ERROR_RT_RESOURCE_ALLOC_FAIL)                                                                     \
    CODE(207006, ACL_ERROR_RT_NO_PERMISSION)                                                                           \
    CODE(207008, ACL_ERROR_RT_NO_STREAM_RESOURCE)                                                                      \
    CODE(207010, ACL_ERROR_RT_NO_MODEL_RESOURCE)                                                                       \
    CODE(207018, ACL_ERROR_RT_DEVICE_OOM)                                                                              \
    CODE(245000, ACL_ERROR_GE_MEMORY_ALLOCATION)                                                                       \
    CODE(245001, ACL_ERROR_GE_MEMORY_OPERATE_FAILED)                                                                   \
    CODE(245002, ACL_ERROR_GE_DEVICE_MEMORY_OPERATE_FAILED)                                                            \
    CODE(300000, ACL_ERROR_STORAGE_OVER_LIMIT)                                                                         \
    CODE(500000, ACL_ERROR_INTERNAL_ERROR)                                                                             \
    CODE(500001, ACL_ERROR_FAILURE)                                                                                    \
    CODE(500002, ACL_ERROR_GE_FAILURE)                                                                                 \
    CODE(500003, ACL_ERROR_RT_FAILURE)                                                                                 \
    CODE(500004, ACL_ERROR_DRV_FAILURE)                                                                                \
    CODE(507000, ACL_ERROR_RT_INTERNAL_ERROR)                                                                          \
    CODE(507001, ACL_ERROR_RT_TS_ERROR)                                                                                \
    CODE(507008, ACL_ERROR_RT_SOC_VERSION)                                                                             \
    CODE(507010, ACL_ERROR_RT_LOST_HEARTBEAT)                                                                          \
    CODE(507011, ACL_ERROR_RT_MODEL_EXECUTE)                                                                           \
    CODE(507012, ACL_ERROR_RT_REPORT_TIMEOUT)                                                                          \
    CODE(507013, ACL_ERROR_RT_SYS_DMA)                                                                                 \
    CODE(507014, ACL_ERROR_RT_AICORE_TIMEOUT)                                                                          \
    CODE(507015, ACL_ERROR_RT_AICORE_EXCEPTION)                                                                        \
    CODE(507016, ACL_ERROR_RT_AICORE_TRAP_EXCEPTION)                                                                   \
    CODE(507017, ACL_ERROR_RT_AICPU_TIMEOUT)                                                                           \
    CODE(507018, ACL_ERROR_RT_AICPU_EXCEPTION)                                                                         \
    CODE(507033, ACL_ERROR_RT_DEV_SETUP_ERROR)                                                                         \
    CODE(507034, ACL_ERROR_RT_VECTOR_CORE_TIMEOUT)                                                                     \
    CODE(507035, ACL_ERROR_RT_VECTOR_CORE_EXCEPTION)                                                                   \
    CODE(507046, ACL_ERROR_RT_STREAM_SYNC_TIMEOUT)                                                                     \
    CODE(507053, ACL_ERROR_RT_DEVICE_MEM_ERROR)                                                                        \
    CODE(507054, ACL_ERROR_RT_HBM_MULTI_BIT_ECC_ERROR)                                                                 \
    CODE(507899, ACL_ERROR_RT_DRV_INTERNAL_ERROR)                                                                      \
    CODE(545000, ACL_ERROR_GE_INTERNAL_ERROR)                                                                          \
    CODE(545001, ACL_ERROR_GE_LOAD_MODEL)                                                                              \
    CODE(545002, ACL_ERROR_GE_EXEC_LOAD_MODEL_PARTITION_FAILED)                                                        \
    CODE(545003, ACL_ERROR_GE_EXEC_LOAD_WEIGHT_PARTITION_FAILED)                                                       \
    CODE(545004, ACL_ERROR_GE_EXEC_LOAD_TASK_PARTITION_FAILED)                                                         \
    CODE(545005, ACL_ERROR_GE_EXEC_LOAD_KERNEL_PARTITION_FAILED)                                                       \
    CODE(545601, ACL_ERROR_GE_MODEL_EXECUTE_TIMEOUT)

// ------------------------------------------------------------------------------------------------------------ calls

// name, result, parameters; aclError and enumerations are int. Of the runtime, of models, and what older releases lack.
#define ASCEND_RUNTIME(CALL)                                                                                           \
    CALL(aclInit, int, (const char *))                                                                                 \
    CALL(aclrtGetDeviceCount, int, (uint32_t *))                                                                       \
    CALL(aclrtSetDevice, int, (int32_t))                                                                               \
    CALL(aclrtResetDevice, int, (int32_t))                                                                             \
    CALL(aclrtGetRunMode, int, (int *))                                                                                \
    CALL(aclrtCreateContext, int, (Context *, int32_t))                                                                \
    CALL(aclrtDestroyContext, int, (Context))                                                                          \
    CALL(aclrtCreateStream, int, (Stream *))                                                                           \
    CALL(aclrtDestroyStream, int, (Stream))                                                                            \
    CALL(aclrtSynchronizeStream, int, (Stream))                                                                        \
    CALL(aclrtMalloc, int, (void **, size_t, int))                                                                     \
    CALL(aclrtFree, int, (void *))                                                                                     \
    CALL(aclrtMallocHost, int, (void **, size_t))                                                                      \
    CALL(aclrtFreeHost, int, (void *))                                                                                 \
    CALL(aclrtMemcpyAsync, int, (void *, size_t, const void *, size_t, int, Stream))
#define ASCEND_MODEL(CALL)                                                                                             \
    CALL(aclmdlLoadFromFile, int, (const char *, uint32_t *))                                                          \
    CALL(aclmdlUnload, int, (uint32_t))                                                                                \
    CALL(aclmdlCreateDesc, Desc *, ())                                                                                 \
    CALL(aclmdlGetDesc, int, (Desc *, uint32_t))                                                                       \
    CALL(aclmdlDestroyDesc, int, (Desc *))                                                                             \
    CALL(aclmdlGetNumInputs, size_t, (Desc *))                                                                         \
    CALL(aclmdlGetNumOutputs, size_t, (Desc *))                                                                        \
    CALL(aclmdlGetInputSizeByIndex, size_t, (Desc *, size_t))                                                          \
    CALL(aclmdlGetOutputSizeByIndex, size_t, (Desc *, size_t))                                                         \
    CALL(aclmdlGetInputDimsV2, int, (const Desc *, size_t, IODims *))                                                  \
    CALL(aclmdlGetOutputDims, int, (const Desc *, size_t, IODims *))                                                   \
    CALL(aclmdlGetOutputNameByIndex, const char *, (const Desc *, size_t))                                             \
    CALL(aclmdlGetInputFormat, int, (const Desc *, size_t))                                                            \
    CALL(aclmdlGetInputDataType, int, (const Desc *, size_t))                                                          \
    CALL(aclmdlGetOutputDataType, int, (const Desc *, size_t))                                                         \
    CALL(aclmdlCreateDataset, Dataset *, ())                                                                           \
    CALL(aclmdlDestroyDataset, int, (const Dataset *))                                                                 \
    CALL(aclmdlAddDatasetBuffer, int, (Dataset *, DataBuffer *))                                                       \
    CALL(aclmdlExecuteAsync, int, (uint32_t, const Dataset *, Dataset *, Stream))                                      \
    CALL(aclCreateDataBuffer, DataBuffer *, (void *, size_t))                                                          \
    CALL(aclDestroyDataBuffer, int, (const DataBuffer *))
#define ASCEND_OPTIONAL_RUNTIME(CALL)                                                                                  \
    CALL(aclGetRecentErrMsg, const char *, ())                                                                         \
    CALL(aclrtGetVersion, int, (int32_t *, int32_t *, int32_t *))                                                      \
    CALL(aclrtGetSocName, const char *, ())                                                                            \
    CALL(aclrtSynchronizeStreamWithTimeout, int, (Stream, int32_t))                                                    \
    CALL(aclrtStreamAbort, int, (Stream))                                                                              \
    CALL(aclrtGetDeviceUtilizationRate, int, (int32_t, Utilization *))                                                 \
    CALL(aclrtGetLogicDevIdByUserDevId, int, (int32_t, int32_t *))
#define ASCEND_OPTIONAL_MODEL(CALL) CALL(aclmdlGetTensorRealName, const char *, (const Desc *, const char *))
#define ASCEND_DCMI(CALL)                                                                                              \
    CALL(dcmi_init, int, ())                                                                                           \
    CALL(dcmi_get_card_id_device_id_from_logicid, int, (int *, int *, unsigned int))                                   \
    CALL(dcmi_get_device_temperature, int, (int, int, int *))                                                          \
    CALL(dcmi_get_device_power_info, int, (int, int, int *))                                                           \
    CALL(dcmi_get_device_health, int, (int, int, unsigned int *))                                                      \
    CALL(dcmi_get_device_utilization_rate, int, (int, int, int, unsigned int *))                                       \
    CALL(dcmi_get_device_memory_info_v3, int, (int, int, DeviceMemory *))                                              \
    CALL(dcmi_get_device_hbm_info, int, (int, int, HbmMemory *))

} // namespace ascend
