// SPDX-License-Identifier: Apache-2.0
// The driver's part of the double: libdcmi, with cards of two chips.
#include <cstdint>
#include <cstring>

#include "double.h"

namespace {

bool sensors = false;
unsigned int health = 0;
constexpr int not_supported = -8255;

// The logical number of a chip.
int number(int card, int chip) {
    return (card - 1) * 2 + chip;
}

} // namespace

extern "C" {

void double_set_sensors(int has, unsigned int state) {
    sensors = has != 0;
    health = state;
}

int dcmi_init(void) {
    return 0;
}

int dcmi_get_card_id_device_id_from_logicid(int *card, int *chip, unsigned int logical) {
    *card = static_cast<int>(logical / 2) + 1;
    *chip = static_cast<int>(logical % 2);
    return 0;
}

int dcmi_get_device_temperature(int card, int chip, int *celsius) {
    *celsius = 50 + number(card, chip);
    return sensors ? 0 : not_supported;
}

int dcmi_get_device_power_info(int card, int chip, int *tenths) {
    *tenths = 125 + number(card, chip);
    return sensors ? 0 : not_supported;
}

int dcmi_get_device_health(int, int, unsigned int *state) {
    *state = health;
    return sensors ? 0 : not_supported;
}

int dcmi_get_device_utilization_rate(int, int, int type, unsigned int *percent) {
    *percent = type == 2 ? 80 : 1;
    return sensors ? 0 : not_supported;
}

int dcmi_get_device_memory_info_v3(int, int, void *info) {
    if (!sensors) return not_supported;
    const uint64_t sizes[] = {21534, 20000}; // MB there are, MB left
    std::memset(info, 0, 112);
    std::memcpy(info, sizes, sizeof sizes);
    return 0;
}

int dcmi_get_device_hbm_info(int, int, void *) {
    return not_supported; // no chip of the 310 family has HBM
}
}
