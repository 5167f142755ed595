// SPDX-License-Identifier: Apache-2.0
// What DCMI, the driver's own interface, tells of a device. It knows no contexts, so any thread may ask.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "ascend_runtime.h"

namespace ascend {

// A struct that a newer driver may fill further than we know.
template <typename Struct> struct Roomy {
    Struct known = {};
    unsigned char room[256] = {};
};

// Calls, if the driver has it; false if it has not, or does not know.
template <typename Call, typename... Arguments> bool told(Call *call, Arguments... arguments) {
    return call && call(arguments...) == 0;
}

// The device's place among the cards.
struct Place {
    int card = 0, chip = 0;
};

// False where it is not certain which device the driver means: ASCEND_RT_VISIBLE_DEVICES renumbers them, and older
// releases do not tell how.
inline bool find_place(const Runtime &runtime, int32_t device, Place *place) {
    if (!runtime.dcmi_init) return false;
    int32_t logical = device;
    if (runtime.aclrtGetLogicDevIdByUserDevId) {
        if (runtime.aclrtGetLogicDevIdByUserDevId(device, &logical) != success) return false;
    } else if (std::getenv("ASCEND_RT_VISIBLE_DEVICES")) {
        return false;
    }
    const auto index = static_cast<unsigned int>(logical);
    return told(runtime.dcmi_get_card_id_device_id_from_logicid, &place->card, &place->chip, index);
}

// What the driver thinks of the device, if it is not well: "", or "a minor alarm".
inline const char *alarm(const Runtime &runtime, int32_t device) {
    static const char *const names[] = {"", "a minor alarm", "a major alarm", "a critical alarm"};
    Place place;
    unsigned int level = 0;
    if (!find_place(runtime, device, &place)) return "";
    if (!told(runtime.dcmi_get_device_health, place.card, place.chip, &level)) return "";
    return level < 4 ? names[level] : "no such device";
}

inline void read_memory(const Runtime &runtime, const Place &place, yqb_health *health) {
    Roomy<HbmMemory> hbm; // of the 910B; the 310 family has none, and DDR
    Roomy<DeviceMemory> ddr;
    if (told(runtime.dcmi_get_device_hbm_info, place.card, place.chip, &hbm.known) && hbm.known.size > 0) {
        health->memory_total = uint64_t{hbm.known.size} << 20;
        health->memory_used = uint64_t{hbm.known.used} << 20;
    } else if (told(runtime.dcmi_get_device_memory_info_v3, place.card, place.chip, &ddr.known) && ddr.known.size > 0) {
        health->memory_total = uint64_t{ddr.known.size} << 20;
        health->memory_used = uint64_t{ddr.known.size - std::min(ddr.known.available, ddr.known.size)} << 20;
    }
}

// What is known of the device; the rest stays unknown.
inline yqb_health read_health(const Runtime &runtime, int32_t device) {
    const float unknown = std::numeric_limits<float>::quiet_NaN();
    yqb_health health = {sizeof health, unknown, unknown, unknown, UINT64_MAX, UINT64_MAX};
    Place place;
    if (find_place(runtime, device, &place)) {
        constexpr int ai_core = 2;
        int value = 0;
        unsigned int percent = 0;
        if (told(runtime.dcmi_get_device_temperature, place.card, place.chip, &value))
            health.temperature_c = static_cast<float>(value);
        if (told(runtime.dcmi_get_device_power_info, place.card, place.chip, &value))
            health.power_w = static_cast<float>(value) / 10; // in tenths of a watt
        if (told(runtime.dcmi_get_device_utilization_rate, place.card, place.chip, ai_core, &percent))
            health.utilization_percent = static_cast<float>(percent);
        read_memory(runtime, place, &health);
    }
    Utilization load = {};
    if (std::isnan(health.utilization_percent) && runtime.aclrtGetDeviceUtilizationRate &&
        runtime.aclrtGetDeviceUtilizationRate(device, &load) == success && load.cube >= 0)
        health.utilization_percent = static_cast<float>(load.cube);
    return health;
}

} // namespace ascend
