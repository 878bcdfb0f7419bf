// GCC 12 takes its own intrinsics' undefined lanes for a mistake of ours (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include "row_backward.h"
#include "row_forward.h"
#include "simd_avx512.h"

namespace labelset {

extern const RowKernels kAvx512Kernels;
const RowKernels kAvx512Kernels{Avx512::kName, forward<Avx512>, backward<Avx512>, find<Avx512>};

}  // namespace labelset
