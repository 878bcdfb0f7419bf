#include "row_backward.h"
#include "row_forward.h"
#include "simd_portable.h"

namespace labelset {

extern const RowKernels kPortableKernels;
const RowKernels kPortableKernels{Portable::kName, forward<Portable>, backward<Portable>, find<Portable>};

}  // namespace labelset
