// The inner loops of filtered.py, which says what they compute and why.

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>

#include "../engine/_native.h"

#if defined(__x86_64__) && defined(__gnu_linux__)
#include <immintrin.h>
#define WITH_X86_KERNELS
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

using Node = std::int32_t;
using Scored = std::pair<float, Node>;
using Code = std::uint8_t;

constexpr std::size_t kLine = 64;     // bytes of a cache line, to which rows of codes are padded
constexpr int kZero = 128;            // the code of 0.0
constexpr float kRounding = 1e-5F;    // what sums of float32 may be off by, of unit vectors
constexpr float kLongest = 1.05F;     // no vector as its codes have it is longer
constexpr std::size_t kAhead = 8;     // rows that are asked for before they are needed
constexpr std::size_t kEntries = 64;  // allowed nodes that a walk begins at
constexpr std::size_t kEnough = 48;   // neighbours of a node, of those behind others

// Measured by tests/bench/filtered_search.py, at 200,000 vectors: what is quickest at a recall@10 of 0.95 and more.
// Rows up to which a scan is quicker than any walk, than one over allowed nodes, than one over badly linked ones, and
// than one that the filter is against.
constexpr std::size_t kFew = 1500, kSome = 3000, kMore = 7000, kMany = 20000;
constexpr std::size_t kScanShare = 8;  // nor is a walk worth it for more than one in so many
// Shares of allowed nodes around a query.
constexpr double kLoose = 0.25, kTight = 0.08, kSparse = 0.035;
constexpr double kDeviations = 3.0;
constexpr double kAgainst = 0.7;  // of the share everywhere: below, the filter is against the query
// Times `ef`, where allowed nodes are badly linked, and where they are far from the query.
constexpr std::size_t kSparseBreadth = 4, kFarBreadth = 20;

// sum(codes[d] * query[d]): unsigned times signed, as processors have it.
using Kernel = int (*)(const Code*, const std::int8_t*, std::size_t);

int multiply_codes_plainly(const Code* codes, const std::int8_t* query, std::size_t width) {
  int sum = 0;
  for (std::size_t d = 0; d < width; ++d) sum += static_cast<int>(codes[d]) * static_cast<int>(query[d]);
  return sum;
}

#ifdef WITH_X86_KERNELS
__attribute__((target("avx2"))) int multiply_codes_avx2(const Code* codes, const std::int8_t* query,
                                                        std::size_t width) {
  __m256i sum = _mm256_setzero_si256();
  for (std::size_t d = 0; d < width; d += 16) {
    const __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + d)));
    const __m256i b = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(query + d)));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
  }
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1));
  return _mm_cvtsi128_si32(half);
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))) int multiply_codes_vnni(const Code* codes,
                                                                                        const std::int8_t* query,
                                                                                        std::size_t width) {
  __m512i sum = _mm512_setzero_si512();
  for (std::size_t d = 0; d < width; d += 64) {
    sum = _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(codes + d), _mm512_loadu_si512(query + d));
  }
  alignas(64) int parts[16];  // _mm512_reduce_add_epi32 makes GCC 12 warn of its own header
  _mm512_store_si512(parts, sum);
  int total = 0;
  for (const int part : parts) total += part;
  return total;
}
#endif

Kernel best_kernel() {
#ifdef WITH_X86_KERNELS
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw")) {
    return multiply_codes_vnni;
  }
  if (__builtin_cpu_supports("avx2")) return multiply_codes_avx2;
#endif
  return multiply_codes_plainly;
}

const Kernel multiply_codes = best_kernel();

// Memory that is read in any order: of large pages where the system has them, or every read would miss the TLB too.
template <typename T>
class Table {
 public:
  explicit Table(std::size_t size) {
    const std::size_t bytes = (std::max<std::size_t>(size * sizeof(T), 1) + kPage - 1) / kPage * kPage;
    data_.reset(static_cast<T*>(std::aligned_alloc(kPage, bytes)));
    if (!data_) throw std::bad_alloc();
#if defined(__linux__)
    madvise(data_.get(), bytes, MADV_HUGEPAGE);  // a wish: where it is not granted all works the same
#endif
    std::memset(data_.get(), 0, bytes);
  }
  T* data() const { return data_.get(); }

 private:
  static constexpr std::size_t kPage = std::size_t{2} << 20;
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
};

// Codes of a vector: value = scale * (code - kZero), but for an error of at most `error` (its length).
struct Quantised {
  float scale, error;
};

template <typename T>
Quantised quantise(const float* vector, std::size_t dim, T* codes, int zero) {
  float largest = 0.0F;
  for (std::size_t d = 0; d < dim; ++d) largest = std::max(largest, std::fabs(vector[d]));
  const float scale = largest > 0.0F ? largest / 127.0F : 1.0F, inverse = 1.0F / scale;
  float squares = 0.0F;
  for (std::size_t d = 0; d < dim; ++d) {
    const int code = static_cast<int>(vector[d] * inverse + (vector[d] < 0.0F ? -0.5F : 0.5F));
    codes[d] = static_cast<T>(code + zero);
    const float difference = vector[d] - scale * static_cast<float>(code);
    squares += difference * difference;
  }
  return {scale, std::sqrt(squares)};
}

enum class Strategy { kBest, kScan, kAround, kThrough };

struct Plan {
  Strategy strategy;
  std::size_t ef;
};

struct Query {
  const float* vector;
  std::vector<std::int8_t> codes;
  float scale, error, length;
  int base;
};

// What one search needs, kept for the next one.
struct Scratch {
  explicit Scratch(std::size_t nodes) : count(nodes), visited(nodes) {}

  void forget() {
    if (++tag != 0) return;
    std::fill(visited.data(), visited.data() + count, 0);
    tag = 1;
  }

  // Whether it is the first time.
  bool meet(Node node) {
    if (visited.data()[node] == tag) return false;
    visited.data()[node] = tag;
    return true;
  }

  std::size_t count;
  Table<std::uint8_t> visited;  // the tag of the search that met a node last
  std::uint8_t tag = 0;
  std::vector<Scored> candidates, results;
  std::vector<Node> fresh, listed;
  std::vector<float> approximate, order;
};

class Searcher {
 public:
  Searcher(const py::array& vectors, const py::array& links, const py::array& upper, const py::array& upper_starts,
           Node entry, int levels)
      : vectors_array_(take<float>(vectors, 2, "vectors")),
        upper_array_(take<Node>(upper, 2, "upper")),
        upper_starts_array_(take<Position>(upper_starts, 1, "upper_starts")),
        vectors_(vectors_array_.data()),
        upper_(upper_array_.data()),
        upper_starts_(upper_starts_array_.data()),
        count_(static_cast<std::size_t>(vectors_array_.shape(0))),
        dim_(static_cast<std::size_t>(vectors_array_.shape(1))),
        width_(static_cast<std::size_t>(take<Node>(links, 2, "links").shape(1))),
        upper_width_(static_cast<std::size_t>(upper_array_.shape(1))),
        stride_((dim_ + kLine - 1) / kLine * kLine),
        entry_(entry),
        levels_(levels),
        codes_memory_(count_ * stride_),
        links_(count_ * width_),
        codes_(codes_memory_.data()) {
    const auto all = take<Node>(links, 2, "links");
    if (count_ == 0 || all.shape(0) != vectors_array_.shape(0) || upper_starts_array_.size() != all.shape(0)) {
      throw py::value_error("the arrays do not fit one another");
    }
    const Node* all_links = all.data();
    const py::gil_scoped_release others_go_on;  // it takes long, and may be made beside calls
    std::memcpy(links_.data(), all_links, count_ * width_ * sizeof(Node));
    check();
    quantised_.resize(count_);
    for (std::size_t i = 0; i < count_; ++i) {
      quantised_[i] = quantise(vectors_ + i * dim_, dim_, codes_ + i * stride_, kZero);
    }
  }

  // The k allowed that are nearest, exactly: by codes first, then by vectors where codes leave it open.
  std::vector<Scored> scan(Scratch& scratch, const Query& query, const Node* allowed, std::size_t count,
                           std::size_t k) const {
    if (k > count) throw py::value_error("fewer are allowed than are asked for");
    for (std::size_t i = 0; i < count; ++i) {
      if (allowed[i] < 0 || static_cast<std::size_t>(allowed[i]) >= count_) throw py::index_error("no such position");
    }
    std::vector<float>&approximate = scratch.approximate, &order = scratch.order;
    approximate.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (i + kAhead < count) prefetch(allowed[i + kAhead]);
      approximate[i] = product(query, allowed[i]);
    }
    order = approximate;
    std::nth_element(order.begin(), order.begin() + (k - 1), order.end(), std::greater<>());
    const float kth = order[k - 1];
    std::vector<Node> nodes;
    for (std::size_t i = 0; i < count; ++i) {
      if (approximate[i] >= kth) nodes.push_back(allowed[i]);
    }
    std::vector<Scored> found = exactly(query, nodes);
    // These are k, so whatever belongs there is no further than the furthest of them; its codes may be off.
    const float least = std::min_element(found.begin(), found.end())->first;
    nodes.clear();
    for (std::size_t i = 0; i < count; ++i) {
      const float off = query.length * quantised_[allowed[i]].error + query.error * kLongest + kRounding;
      if (approximate[i] < kth && approximate[i] + off >= least) nodes.push_back(allowed[i]);
    }
    const std::vector<Scored> more = exactly(query, nodes);
    found.insert(found.end(), more.begin(), more.end());
    sort_best(found, k);
    return found;
  }

  // The k allowed that the graph leads to. With `kThrough` every node is stepped on, as in hnswlib; without it only
  // allowed ones are, and what lies behind a link to another one counts as linked: ACORN-1, Patel et al., 2024.
  // Nothing where more than `budget` nodes would have to be looked at.
  template <bool kThrough>
  std::vector<Scored> walk(Scratch& scratch, const Query& query, Node entry, const std::uint8_t* mask, std::size_t k,
                           std::size_t ef, std::size_t budget) const {
    std::vector<Scored>&candidates = scratch.candidates, &results = scratch.results;
    candidates.clear(), results.clear();
    scratch.forget();
    float least = -std::numeric_limits<float>::infinity();  // of the results, once there are enough
    std::size_t visits = 0;
    const auto meet = [&](Node node) {
      const float similarity = product(query, node);
      if (similarity <= least) return;
      candidates.emplace_back(similarity, node);
      std::push_heap(candidates.begin(), candidates.end());
      if (kThrough) prefetch_links(node);
      if (!mask[node]) return;
      results.emplace_back(similarity, node);
      std::push_heap(results.begin(), results.end(), std::greater<>());
      if (results.size() > ef) {
        std::pop_heap(results.begin(), results.end(), std::greater<>());
        results.pop_back();
      }
      if (results.size() == ef) least = results.front().first;
    };
    begin(scratch, entry, mask, kThrough ? 0 : kEntries);
    for (const Node node : scratch.fresh) meet(node);
    while (!candidates.empty()) {
      std::pop_heap(candidates.begin(), candidates.end());
      const auto [similarity, node] = candidates.back();
      candidates.pop_back();
      if (similarity < least) break;
      if (visits > budget) return {};
      scratch.fresh.clear();
      step<kThrough>(scratch, node, mask);
      visits += scratch.fresh.size();
      for (const Node next : scratch.fresh) meet(next);
    }
    std::vector<Node> nodes;
    for (const auto& result : results) nodes.push_back(result.second);
    std::vector<Scored> found = exactly(query, nodes);
    sort_best(found, k);
    return found;
  }

  // See FilteredIndex.search. `count` is how many are allowed; where they lie is found out if it is not told.
  py::tuple search(const py::array& some_queries, std::size_t k, const py::array& some_mask, std::size_t count,
                   const std::optional<py::array>& some_positions, std::size_t ef, Strategy strategy,
                   std::size_t threads) {
    const auto queries = take<float>(some_queries, 2, "queries");
    const auto mask = take<std::uint8_t>(some_mask, 1, "mask");
    if (queries.shape(1) != static_cast<py::ssize_t>(dim_) || mask.size() < static_cast<py::ssize_t>(count_)) {
      throw py::value_error("the arrays do not fit one another");
    }
    if (k == 0 || k > count) throw py::value_error("one item at least, and no more than are allowed");
    std::optional<Array<Node>> positions;
    if (some_positions) positions = take<Node>(*some_positions, 1, "positions");
    const Node* allowed = positions ? positions->data() : nullptr;
    if (positions && static_cast<std::size_t>(positions->size()) != count) throw py::value_error("count: of positions");
    const auto rows = static_cast<std::size_t>(queries.shape(0));
    Array<Position> found_positions({rows, k});
    Array<float> similarities({rows, k});
    std::array<std::atomic<std::size_t>, 4> taken{};
    Position* const found_data = found_positions.mutable_data();
    float* const similarity_data = similarities.mutable_data();
    each(rows, threads, [&](Scratch& scratch, std::size_t q) {
      const Query query = prepare(queries.data() + q * dim_);
      const auto [found, way] = find(scratch, query, k, mask.data(), count, allowed, std::max(ef, k), strategy);
      ++taken[static_cast<std::size_t>(way)];
      for (std::size_t i = 0; i < k; ++i) {
        found_data[q * k + i] = found[i].second;
        similarity_data[q * k + i] = found[i].first;
      }
    });
    return py::make_tuple(found_positions, similarities,
                          py::make_tuple(taken[1].load(), taken[2].load(), taken[3].load()));
  }

 private:
  // Calls `answer(scratch, q)` for each query. One thread keeps the interpreter's lock, several do without.
  template <typename Answer>
  void each(std::size_t queries, std::size_t threads, const Answer& answer) {
    std::atomic<std::size_t> next{0};
    std::mutex failing;
    std::exception_ptr failure;
    const auto work = [&] {
      std::unique_ptr<Scratch> scratch = borrow();
      try {
        for (std::size_t q = next++; q < queries; q = next++) answer(*scratch, q);
      } catch (...) {
        const std::lock_guard<std::mutex> guard(failing);
        failure = std::current_exception();
      }
      const std::lock_guard<std::mutex> guard(lending_);
      spare_.push_back(std::move(scratch));
    };
    if (std::min(threads, queries) <= 1) {
      work();
    } else {
      const py::gil_scoped_release released;
      std::vector<std::thread> others;
      for (std::size_t t = 1; t < std::min(threads, queries); ++t) others.emplace_back(work);
      work();
      for (std::thread& other : others) other.join();
    }
    if (failure) std::rethrow_exception(failure);
  }

  std::unique_ptr<Scratch> borrow() {
    const std::lock_guard<std::mutex> guard(lending_);
    if (spare_.empty()) return std::make_unique<Scratch>(count_);
    std::unique_ptr<Scratch> scratch = std::move(spare_.back());
    spare_.pop_back();
    return scratch;
  }

  // The k nearest allowed of a query, and in which way they were found.
  std::pair<std::vector<Scored>, Strategy> find(Scratch& scratch, const Query& query, std::size_t k,
                                                const std::uint8_t* mask, std::size_t count, const Node* allowed,
                                                std::size_t ef, Strategy strategy) const {
    Plan plan{strategy, ef};
    Node entry = entry_;
    if (strategy != Strategy::kScan && (strategy != Strategy::kBest || count > kFew)) entry = descend(query);
    if (strategy == Strategy::kBest) plan = choose(entry, mask, count, ef);
    std::vector<Scored> found;
    if (plan.strategy == Strategy::kThrough) found = walk<true>(scratch, query, entry, mask, k, plan.ef, count);
    if (plan.strategy == Strategy::kAround) found = walk<false>(scratch, query, entry, mask, k, plan.ef, count);
    if (found.size() >= k) return {found, plan.strategy};
    if (allowed == nullptr) allowed = list(scratch, mask, count);
    return {scan(scratch, query, allowed, count, k), Strategy::kScan};
  }

  // What is linked to a node and was not met before, allowed or not; or what is allowed of it and behind it.
  template <bool kThrough>
  void step(Scratch& scratch, Node node, const std::uint8_t* mask) const {
    const Node* links = row(node);
    if (kThrough) {
      for (std::size_t l = 0; l < width_ && links[l] >= 0; ++l) visit(scratch, links[l]);
      return;
    }
    for (std::size_t l = 0; l < width_ && links[l] >= 0; ++l) {
      prefetch_links(links[l]);
      if (mask[links[l]]) visit(scratch, links[l]);
    }
    for (std::size_t l = 0; scratch.fresh.size() < kEnough && l < width_ && links[l] >= 0; ++l) {
      if (mask[links[l]] || !scratch.meet(links[l])) continue;
      const Node* behind = row(links[l]);
      for (std::size_t m = 0; m < width_ && behind[m] >= 0; ++m) {
        if (mask[behind[m]]) visit(scratch, behind[m]);
      }
    }
  }

  Query prepare(const float* vector) const {
    Query query{vector, std::vector<std::int8_t>(stride_, 0), 0, 0, 0, 0};
    const auto [scale, error] = quantise(vector, dim_, query.codes.data(), 0);
    query.scale = scale, query.error = error;
    query.length = std::sqrt(dot(vector, vector, dim_));
    for (const auto code : query.codes) query.base += kZero * code;
    return query;
  }

  float product(const Query& query, Node node) const {
    const int sum = multiply_codes(codes_ + static_cast<std::size_t>(node) * stride_, query.codes.data(), stride_);
    return quantised_[node].scale * query.scale * static_cast<float>(sum - query.base);
  }

  void prefetch(Node node) const {
    const Code* codes = codes_ + static_cast<std::size_t>(node) * stride_;
    for (std::size_t b = 0; b < stride_; b += kLine) __builtin_prefetch(codes + b);
    __builtin_prefetch(&quantised_[node]);
  }

  // How to search from here. What decides is how many are allowed at all, which a scan takes time for, and how large
  // their share is around the query, which is what a walk meets: a filter may allow only what is far from it.
  Plan choose(Node entry, const std::uint8_t* mask, std::size_t count, std::size_t ef) const {
    if (count <= kFew || ef * kScanShare > count) return {Strategy::kScan, ef};
    const Node* links = row(entry);
    std::size_t near = 0, allowed = 0;
    for (std::size_t l = 0; l < width_ && links[l] >= 0; ++l) prefetch_links(links[l]);
    for (std::size_t l = 0; l < width_ && links[l] >= 0; ++l) {
      const Node* behind = row(links[l]);
      for (std::size_t m = 0; m < width_ && behind[m] >= 0; ++m) ++near, allowed += mask[behind[m]] != 0;
    }
    const double share = near == 0 ? 0.0 : static_cast<double>(allowed) / static_cast<double>(near);
    const double everywhere = static_cast<double>(count) / static_cast<double>(count_);
    const auto around = [&](std::size_t rows, std::size_t times) {
      return Plan{count <= rows ? Strategy::kScan : Strategy::kAround, times * ef};
    };
    // Less by more than chance has it: a scan takes ten times as long as a walk about a query that nothing is against.
    const double expected = everywhere * static_cast<double>(near);
    const bool fewer = expected - static_cast<double>(allowed) > kDeviations * std::sqrt(expected);
    if ((share < kAgainst * everywhere && fewer) || share < kSparse) return around(kMany, kFarBreadth);
    if (share >= kLoose) return {Strategy::kThrough, ef};
    return share >= kTight ? around(kSome, 1) : around(kMore, kSparseBreadth);
  }

  const Node* row(Node node) const { return links_.data() + static_cast<std::size_t>(node) * width_; }

  void prefetch_links(Node node) const {
    for (std::size_t l = 0; l < width_; l += kLine / sizeof(Node)) __builtin_prefetch(row(node) + l);
  }

  void visit(Scratch& scratch, Node node) const {
    if (!scratch.meet(node)) return;
    prefetch(node);
    scratch.fresh.push_back(node);
  }

  // Where a walk begins: where the upper layers lead to, and `entries` allowed nodes from all over the catalogue, for
  // the allowed may be far from there.
  void begin(Scratch& scratch, Node entry, const std::uint8_t* mask, std::size_t entries) const {
    scratch.fresh.clear();
    visit(scratch, entry);
    for (std::size_t e = 0; e < entries; ++e) {
      std::size_t node = count_ * e / entries;
      const std::size_t end = std::min(node + kLine, count_);
      while (node < end && !mask[node]) ++node;
      if (node < end) visit(scratch, static_cast<Node>(node));
    }
  }

  Node descend(const Query& query) const {
    Node at = entry_;
    float best = product(query, at);
    for (int level = levels_; level > 0; --level) {
      for (bool better = true; better;) {
        better = false;
        const Node* links = upper_ + (upper_starts_[at] + level - 1) * static_cast<Position>(upper_width_);
        for (std::size_t l = 0; l < upper_width_ && links[l] >= 0; ++l) prefetch(links[l]);
        for (std::size_t l = 0; l < upper_width_ && links[l] >= 0; ++l) {
          const float similarity = product(query, links[l]);
          if (similarity > best) best = similarity, at = links[l], better = true;
        }
      }
    }
    return at;
  }

  std::vector<Scored> exactly(const Query& query, const std::vector<Node>& nodes) const {
    const Positions positions(nodes.begin(), nodes.end());
    std::vector<float> products(nodes.size());
    multiply(vectors_, positions, query.vector, dim_, products.data());
    std::vector<Scored> found;
    for (std::size_t i = 0; i < nodes.size(); ++i) found.emplace_back(products[i], nodes[i]);
    return found;
  }

  const Node* list(Scratch& scratch, const std::uint8_t* mask, std::size_t count) const {
    std::vector<Node>& listed = scratch.listed;
    listed.clear();
    for (std::size_t i = 0; i < count_; ++i) {
      if (mask[i]) listed.push_back(static_cast<Node>(i));
    }
    if (listed.size() != count) throw py::value_error("count: of the mask");
    return listed.data();
  }

  // Highest first; equals in the order of the catalogue.
  static void sort_best(std::vector<Scored>& found, std::size_t k) {
    std::sort(found.begin(), found.end(), [](const Scored& a, const Scored& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    if (found.size() > k) found.resize(k);
  }

  void check() const {
    const auto fits = [this](Node node) { return node >= -1 && node < static_cast<Node>(count_); };
    bool good = entry_ >= 0 && fits(entry_);
    for (std::size_t i = 0; good && i < count_ * width_; ++i) good = fits(links_.data()[i]);
    for (py::ssize_t i = 0; good && i < upper_array_.size(); ++i) good = fits(upper_[i]);
    for (std::size_t i = 0; good && i < count_; ++i) {
      good = upper_starts_[i] >= 0 && upper_starts_[i] <= upper_array_.shape(0);
    }
    if (!good) throw py::value_error("links: of another index");
  }

  Array<float> vectors_array_;
  Array<Node> upper_array_;
  Array<Position> upper_starts_array_;
  const float* vectors_;
  const Node* upper_;
  const Position* upper_starts_;
  std::size_t count_, dim_, width_, upper_width_, stride_;
  Node entry_;
  int levels_;
  Table<Code> codes_memory_;
  Table<Node> links_;
  Code* codes_;
  std::vector<Quantised> quantised_;
  std::mutex lending_;
  std::vector<std::unique_ptr<Scratch>> spare_;
};

}  // namespace

PYBIND11_MODULE(_search, module) {
  py::enum_<Strategy>(module, "Strategy")
      .value("BEST", Strategy::kBest)
      .value("SCAN", Strategy::kScan)
      .value("AROUND", Strategy::kAround)
      .value("THROUGH", Strategy::kThrough);
  py::class_<Searcher>(module, "Searcher")
      .def(py::init<const py::array&, const py::array&, const py::array&, const py::array&, Node, int>(),
           py::arg("vectors"), py::arg("links"), py::arg("upper"), py::arg("upper_starts"), py::arg("entry"),
           py::arg("levels"))
      .def("search", &Searcher::search);
}
