// Memory that a thread keeps between rows, so that none is allocated once it has seen its longest row.
#pragma once

#include <cstdint>

namespace labelset {

// At least `count` floats, 64-byte aligned, of this thread; valid until its next call. Contents are undefined.
float* scratch(int64_t count);

}  // namespace labelset
