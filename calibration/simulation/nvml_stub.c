/* A library that answers as libnvidia-ml.so.1 does, from a file that another process keeps current.
 *
 * SIMULATED. For programs under test only: the real nvidia-ml-py loads it by its name through
 * LD_LIBRARY_PATH. Functions, structures and codes follow the NVML API reference (NVIDIA); the file's
 * layout is that of calibration/simulation/nvml.py, which says what each word means. WATTCAL_NVML
 * names the file. Words are read whole (aligned 8-byte loads), never half written.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, UNSUPPORTED = 3, TOO_SMALL = 7, LOST = 15,
       LIBRARY_NOT_FOUND = 12 };
enum { MAX_GPUS = 8, HEADER = 128, RECORD = 512 };

struct gpu {
    char name[64], uuid[64], vbios[64];
    volatile uint64_t power_mw, average_mw, instant_mw, energy_mj, limit_mw, utilisation,
        temperature, architecture, has_counter, has_fields, lost, mig;
};
struct field {
    uint32_t id, scope;
    int64_t timestamp, latency;
    uint32_t type, status;
    union { double d; uint32_t u; uint64_t ull; } value;
};

static const char *map;

static uint64_t count(void) { return map ? *(const volatile uint64_t *)(map + 8) : 0; }
static const struct gpu *at(uint64_t i) { return (const struct gpu *)(map + HEADER + i * RECORD); }
static int is_gpu(const struct gpu *g) {
    for (uint64_t i = 0; i < count(); i++)
        if (g == at(i)) return 1;
    return 0;
}
#define CHECK(g) \
    if (!map) return UNINITIALIZED; \
    if (!is_gpu(g)) return INVALID; \
    if ((g)->lost) return LOST

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (map) return OK;
    const char *path = getenv("WATTCAL_NVML");
    int fd = path ? open(path, O_RDONLY) : -1;
    if (fd < 0) return LIBRARY_NOT_FOUND;
    void *p = mmap(NULL, HEADER + MAX_GPUS * RECORD, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return LIBRARY_NOT_FOUND;
    map = p;
    return OK;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return map ? OK : UNINITIALIZED; }
const char *nvmlErrorString(int code) {
    switch (code) {
    case OK: return "The operation was successful";
    case UNINITIALIZED: return "NVML was not first initialized with nvmlInit()";
    case UNSUPPORTED: return "The requested operation is not available on target device";
    case LOST: return "The GPU has fallen off the bus or has otherwise become inaccessible";
    default: return "Unknown error";
    }
}
static int text(char *to, unsigned size, const char *from) {
    if (strlen(from) + 1 > size) return TOO_SMALL;
    strcpy(to, from);
    return OK;
}
int nvmlSystemGetDriverVersion(char *to, unsigned size) {
    return map ? text(to, size, map + 16) : UNINITIALIZED;
}
int nvmlDeviceGetCount_v2(unsigned *n) {
    if (!map) return UNINITIALIZED;
    *n = (unsigned)count();
    return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned i, const struct gpu **g) {
    if (!map) return UNINITIALIZED;
    if (i >= count()) return INVALID;
    *g = at(i);
    return OK;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, const struct gpu **g) {
    if (!map) return UNINITIALIZED;
    for (uint64_t i = 0; i < count(); i++)
        if (!strcmp(at(i)->uuid, uuid)) { *g = at(i); return OK; }
    return INVALID;
}
int nvmlDeviceGetIndex(const struct gpu *g, unsigned *i) {
    CHECK(g);
    *i = (unsigned)(((const char *)g - map - HEADER) / RECORD);
    return OK;
}
int nvmlDeviceGetName(const struct gpu *g, char *to, unsigned size) {
    CHECK(g);
    return text(to, size, g->name);
}
int nvmlDeviceGetUUID(const struct gpu *g, char *to, unsigned size) {
    CHECK(g);
    return text(to, size, g->uuid);
}
int nvmlDeviceGetVbiosVersion(const struct gpu *g, char *to, unsigned size) {
    CHECK(g);
    return text(to, size, g->vbios);
}
int nvmlDeviceGetArchitecture(const struct gpu *g, unsigned *a) {
    CHECK(g);
    *a = (unsigned)g->architecture;
    return OK;
}
int nvmlDeviceGetPowerUsage(const struct gpu *g, unsigned *mw) {
    CHECK(g);
    *mw = (unsigned)g->power_mw;
    return OK;
}
int nvmlDeviceGetTotalEnergyConsumption(const struct gpu *g, uint64_t *mj) {
    CHECK(g);
    if (!g->has_counter) return UNSUPPORTED;
    *mj = g->energy_mj;
    return OK;
}
int nvmlDeviceGetFieldValues(const struct gpu *g, int n, struct field *fields) {
    CHECK(g);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < n; i++) {
        struct field *f = fields + i;
        f->timestamp = now.tv_sec * 1000000ll + now.tv_nsec / 1000;
        f->latency = 0;
        f->status = UNSUPPORTED;
        if (f->id == 83 && g->has_counter) {
            f->type = 3, f->value.ull = g->energy_mj, f->status = OK;
        } else if (f->id == 185 && g->has_fields) {
            f->type = 1, f->value.u = (uint32_t)g->average_mw, f->status = OK;
        } else if (f->id == 186 && g->has_fields) {
            f->type = 1, f->value.u = (uint32_t)g->instant_mw, f->status = OK;
        }
    }
    return OK;
}
int nvmlDeviceGetEnforcedPowerLimit(const struct gpu *g, unsigned *mw) {
    CHECK(g);
    *mw = (unsigned)g->limit_mw;
    return OK;
}
int nvmlDeviceGetPowerManagementLimit(const struct gpu *g, unsigned *mw) {
    return nvmlDeviceGetEnforcedPowerLimit(g, mw);
}
int nvmlDeviceGetMemoryInfo(const struct gpu *g, uint64_t *memory) {
    CHECK(g);
    memory[0] = 40ull << 30, memory[1] = 39ull << 30, memory[2] = 1ull << 30;
    return OK;
}
int nvmlDeviceGetTemperature(const struct gpu *g, unsigned sensor, unsigned *celsius) {
    (void)sensor;
    CHECK(g);
    *celsius = (unsigned)g->temperature;
    return OK;
}
int nvmlDeviceGetUtilizationRates(const struct gpu *g, unsigned *percent) {
    CHECK(g);
    percent[0] = (unsigned)g->utilisation, percent[1] = 0;
    return OK;
}
int nvmlDeviceGetComputeMode(const struct gpu *g, unsigned *mode) {
    CHECK(g);
    *mode = 0;
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(const struct gpu *g, unsigned *n, void *list) {
    (void)list;
    CHECK(g);
    *n = 0;
    return OK;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(const struct gpu *g, unsigned *n, void *list) {
    return nvmlDeviceGetComputeRunningProcesses_v3(g, n, list);
}
int nvmlDeviceGetC2cModeInfoV(const struct gpu *g, void *info) {
    (void)info;
    CHECK(g);
    return UNSUPPORTED;
}
int nvmlDeviceGetMigMode(const struct gpu *g, unsigned *current, unsigned *pending) {
    CHECK(g);
    if (g->mig > 1) return UNSUPPORTED;
    *current = *pending = (unsigned)g->mig;
    return OK;
}
