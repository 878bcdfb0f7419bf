// A team of GPU threads on the CPU, for tests without a GPU: each thread is a fiber, which runs until it meets the
// others in a barrier or a reduction.
//
// Between two meetings the threads run in a random order, so that most missing barriers show, and a thread that meets
// the others at another place than they do ends the program.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <vector>

namespace labelset {
namespace cuda {

class Emulation;

class EmulatedTeam {
public:
    EmulatedTeam(Emulation& emulation, int rank) : emulation_(emulation), rank_(rank) {}

    int rank() const { return rank_; }
    inline int size() const;
    inline int block_rank() const;
    inline int block_size() const;
    inline int block() const;

    inline int sum(int value);
    inline float sum(float value);
    inline int min(int value);
    inline float min(float value);
    inline float max(float value);
    inline void sync();

    // The next number of this block's counter.
    inline int claim();
    inline int claimed() const;

private:
    Emulation& emulation_;
    int rank_;
};

class Emulation {
public:
    Emulation(int block_count, int block_size, unsigned seed)
        : block_size_(block_size), claimed_(size_t(block_count)), random_(seed) {
        for (int rank = 0; rank < block_count * block_size; ++rank) {
            fibers_.push_back(std::make_unique<Fiber>());
            order_.push_back(rank);
        }
        offered_.resize(fibers_.size());
    }

    // Runs `program` on every thread until all have ended.
    void run(const std::function<void(EmulatedTeam&)>& program) {
        program_ = &program;
        std::fill(claimed_.begin(), claimed_.end(), 0);
        for (size_t rank = 0; rank < fibers_.size(); ++rank) start(int(rank));
        for (size_t ended = 0; ended < fibers_.size();) {
            std::shuffle(order_.begin(), order_.end(), random_);
            ended = 0;
            for (const int rank : order_) ended += resume(rank);
            if (ended != 0 && ended != fibers_.size()) fail("some threads ended while others wait");
            for (const auto& fiber : fibers_)
                if (fiber->meeting != fibers_[0]->meeting) fail("threads met in different places");
            collected_ = offered_;
        }
    }

    // Offers a value, waits for all threads, and returns what every one offered.
    const std::vector<double>& meet(int rank, const char* meeting, double value) {
        offered_[size_t(rank)] = value;
        fibers_[size_t(rank)]->meeting = meeting;
        swapcontext(&fibers_[size_t(rank)]->context, &scheduler_);
        return collected_;
    }

    int block_size_;
    std::vector<int> claimed_;
    size_t thread_count() const { return fibers_.size(); }

private:
    struct Fiber {
        ucontext_t context;
        const char* meeting = nullptr;
        bool ended = false;
        std::vector<char> stack = std::vector<char>(256 * 1024);
    };

    void start(int rank) {
        Fiber& fiber = *fibers_[size_t(rank)];
        fiber.ended = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = &scheduler_;
        const auto self = reinterpret_cast<uintptr_t>(this);
        makecontext(&fiber.context, reinterpret_cast<void (*)()>(&Emulation::enter), 3, unsigned(self >> 32),
                    unsigned(self), rank);
    }

    static void enter(unsigned high, unsigned low, int rank) {
        auto& self = *reinterpret_cast<Emulation*>(uintptr_t(high) << 32 | low);
        EmulatedTeam team(self, rank);
        (*self.program_)(team);
        self.fibers_[size_t(rank)]->ended = true;
        self.fibers_[size_t(rank)]->meeting = "end";
    }

    bool resume(int rank) {
        Fiber& fiber = *fibers_[size_t(rank)];
        if (!fiber.ended) swapcontext(&scheduler_, &fiber.context);
        return fiber.ended;
    }

    [[noreturn]] static void fail(const char* what) {
        std::fprintf(stderr, "emulated team: %s\n", what);
        std::abort();
    }

    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::vector<int> order_;
    std::vector<double> offered_;    // exact: a double holds every int and float
    std::vector<double> collected_;  // the offers of the last meeting
    ucontext_t scheduler_;
    const std::function<void(EmulatedTeam&)>* program_ = nullptr;
    std::mt19937 random_;
};

int EmulatedTeam::size() const { return int(emulation_.thread_count()); }
int EmulatedTeam::block_rank() const { return rank_ % emulation_.block_size_; }
int EmulatedTeam::block_size() const { return emulation_.block_size_; }
int EmulatedTeam::block() const { return rank_ / emulation_.block_size_; }

int EmulatedTeam::sum(int value) {
    int total = 0;
    for (const double offered : emulation_.meet(rank_, "sum of integers", value)) total += int(offered);
    return total;
}
float EmulatedTeam::sum(float value) {
    float total = 0;
    for (const double offered : emulation_.meet(rank_, "sum", value)) total += float(offered);
    return total;
}
int EmulatedTeam::min(int value) {
    const auto& offers = emulation_.meet(rank_, "min of integers", value);
    return int(*std::min_element(offers.begin(), offers.end()));
}
float EmulatedTeam::min(float value) {
    const auto& offers = emulation_.meet(rank_, "min", value);
    return float(*std::min_element(offers.begin(), offers.end()));
}
float EmulatedTeam::max(float value) {
    const auto& offers = emulation_.meet(rank_, "max", value);
    return float(*std::max_element(offers.begin(), offers.end()));
}
void EmulatedTeam::sync() { emulation_.meet(rank_, "sync", 0); }
int EmulatedTeam::claim() { return emulation_.claimed_[size_t(block())]++; }
int EmulatedTeam::claimed() const { return emulation_.claimed_[size_t(block())]; }

}  // namespace cuda
}  // namespace labelset
