#include "scratch.h"

#include <cstdlib>
#include <new>

namespace labelset {
namespace {

struct Buffer {
    float* floats = nullptr;
    int64_t count = 0;
    ~Buffer() { std::free(floats); }
};

thread_local Buffer buffer;

}  // namespace

float* scratch(int64_t count) {
    if (count > buffer.count) {
        std::free(buffer.floats);
        buffer.count = 0;
        const size_t bytes = (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64;
        buffer.floats = static_cast<float*>(std::aligned_alloc(64, bytes));
        if (buffer.floats == nullptr) throw std::bad_alloc();
        buffer.count = count;
    }
    return buffer.floats;
}

}  // namespace labelset
