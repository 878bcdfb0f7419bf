#include "row_backward.h"
#include "row_forward.h"
#include "simd_avx2.h"

namespace labelset {

extern const RowKernels kAvx2Kernels;
const RowKernels kAvx2Kernels{Avx2::kName, forward<Avx2>, backward<Avx2>, find<Avx2>};

}  // namespace labelset
