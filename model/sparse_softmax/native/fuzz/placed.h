// Arrays laid so that a read or a write beyond their bounds is noticed, with a sanitizer and without.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "random.h"

namespace fuzz {

// `count` elements at one of four places:
//   - ending where a heap block ends, of which AddressSanitizer knows the last byte;
//   - in a heap block with room on both sides, filled with a pattern that is a NaN to whoever reads it as a float;
//   - ending, or starting, where a page begins that cannot be touched. Only this catches a masked vector instruction,
//     which compilers don't instrument.
template <typename T>
class Placed {
    static_assert(std::is_trivially_copyable<T>::value, "filled byte by byte");

   public:
    Placed(Random& random, int64_t count) : size_(static_cast<size_t>(count) * sizeof(T)) {
        const int64_t place = random.below(8);
        // Any alignment to a vector that an element can have.
        const size_t front = static_cast<size_t>(random.below(16)) * sizeof(T);
        if (place == 0) {
            fence(random.one_in(2));
        } else {
            const size_t behind = place < 4 ? 16 * sizeof(T) : 0;
            block_size_ = front + size_ + behind;
            block_ = static_cast<char*>(std::malloc(block_size_));
            data_ = block_ + front;
        }
        if (block_ == nullptr) fail("malloc");
        write_pattern(block_, block_ + block_size_);
    }
    ~Placed() {
        if (mapped_size_ > 0)
            munmap(block_ - page_size(), mapped_size_);
        else
            std::free(block_);
    }
    Placed(const Placed&) = delete;
    Placed& operator=(const Placed&) = delete;

    T* data() { return reinterpret_cast<T*>(data_); }
    int64_t count() const { return static_cast<int64_t>(size_ / sizeof(T)); }

    void fill(T value) { std::fill(data(), data() + count(), value); }

    // Nothing was written beside the elements.
    bool is_intact() const {
        return holds_pattern(block_, data_) && holds_pattern(data_ + size_, block_ + block_size_);
    }

   private:
    static constexpr uint32_t kPattern = 0x7FC0C0DE;

    static size_t page_size() {
        static const size_t size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        return size;
    }

    [[noreturn]] static void fail(const char* what) {
        std::perror(what);
        std::exit(2);
    }

    void fence(bool ends_at_fence) {
        const size_t page = page_size();
        block_size_ = (size_ + page - 1) / page * page;
        mapped_size_ = block_size_ + 2 * page;
        void* mapped = mmap(nullptr, mapped_size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED) fail("mmap");
        block_ = static_cast<char*>(mapped) + page;
        if (mprotect(block_, block_size_, PROT_READ | PROT_WRITE) != 0) fail("mprotect");
        data_ = ends_at_fence ? block_ + block_size_ - size_ : block_;
    }

    // Sizes and addresses are multiples of the pattern's four bytes.
    static void write_pattern(char* first, char* last) {
        for (; first < last; first += sizeof kPattern) std::memcpy(first, &kPattern, sizeof kPattern);
    }
    static bool holds_pattern(const char* first, const char* last) {
        for (; first < last; first += sizeof kPattern)
            if (std::memcmp(first, &kPattern, sizeof kPattern) != 0) return false;
        return true;
    }

    size_t size_;
    char* data_ = nullptr;
    char* block_ = nullptr;
    size_t block_size_ = 0;
    size_t mapped_size_ = 0;
};

}  // namespace fuzz
