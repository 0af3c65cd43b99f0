// The inner loops of ranking.py, which says what they compute and why. Everything here takes time that grows with the
// request, never with the catalogue.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace py = pybind11;

// Compiled for several processors; the best is chosen when the module is loaded.
#if defined(__x86_64__) && defined(__gnu_linux__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

using Position = std::int64_t;
using Positions = std::vector<Position>;

// Positions, scores, `Source` flags, and when the candidates had been found, on the monotonic clock in seconds.
using Page = std::tuple<Positions, std::vector<float>, std::vector<int>, double>;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

float dot(const float* a, const float* b, std::size_t dim) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::size_t d = 0; d < dim; ++d) sum += a[d] * b[d];
  return sum;
}

// products[i] = <rows[positions[i]], direction>. The rows lie anywhere in memory: the next ones are asked for ahead.
FOR_EACH_PROCESSOR
void multiply(const float* rows, const Positions& positions, const float* direction, std::size_t dim, float* products) {
  constexpr std::size_t kAhead = 4, kLine = 16;
  for (std::size_t i = 0; i < positions.size(); ++i) {
    if (i + kAhead < positions.size()) {
      const float* next = rows + positions[i + kAhead] * dim;
      for (std::size_t d = 0; d < dim; d += kLine) __builtin_prefetch(next + d);
    }
    const float* row = rows + positions[i] * dim;
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (std::size_t d = 0; d < dim; ++d) sum += row[d] * direction[d];
    products[i] = sum;
  }
}

// The mean of `vectors @ direction`, and the standard deviation of `vectors @ direction - lift * average`: see
// TextSpace.
std::pair<double, double> project(const float* direction, const float* mean, std::size_t dim, double spread,
                                  double lift) {
  const double product = dot(direction, mean, dim);
  const double rest = dot(direction, direction, dim) - 2.0 * lift * product + lift * lift * dot(mean, mean, dim);
  return {product, spread * std::sqrt(std::max(rest, 0.0))};
}

// The n-th highest value, minus infinity if there are fewer. Reorders them.
float nth_best(std::vector<float>& values, std::size_t n) {
  if (values.size() < n) return -std::numeric_limits<float>::infinity();
  std::nth_element(values.begin(), values.begin() + (n - 1), values.end(), std::greater<>());
  return values[n - 1];
}

// Indices of the highest scores, highest first; equals in the order of the catalogue.
std::vector<std::size_t> best(const std::vector<float>& scores, const Positions& positions, std::size_t count) {
  std::vector<std::size_t> order(scores.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto before = [&](std::size_t a, std::size_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : positions[a] < positions[b];
  };
  count = std::min(count, order.size());
  std::partial_sort(order.begin(), order.begin() + count, order.end(), before);
  order.resize(count);
  return order;
}

struct Wish {
  const float* vector;
  const Position* positions;
  const float* similarities;
  std::size_t count;
};

// What of the bundle and its settings ranking reads: views of arrays that `owner` keeps.
struct Tables {
  const float *vectors, *mean, *average, *weights, *popularity, *similarities;
  const std::int64_t *indptr, *by_popularity;
  const std::int32_t *indices, *neighbours;
  const std::uint8_t* neighbours_found;
  std::size_t items, dim, neighbours_width;
};

class Ranking {
 public:
  Ranking(Array<float> vectors, Array<std::int64_t> indptr, Array<std::int32_t> indices, Array<float> weights,
          Array<float> popularity, Array<std::int64_t> by_popularity, Array<float> average, Array<float> mean,
          Array<std::int32_t> neighbours, Array<float> similarities, Array<std::uint8_t> neighbours_found,
          const py::kwargs& settings)
      : owner_(py::make_tuple(vectors, indptr, indices, weights, popularity, by_popularity, average, mean, neighbours,
                              similarities, neighbours_found)),
        collaborative_(settings["collaborative"].cast<float>()),
        history_text_(settings["history_text"].cast<float>()),
        wish_(settings["wish"].cast<float>()),
        spread_(settings["spread"].cast<double>()),
        spare_(settings["spare"].cast<std::size_t>()),
        interests_(settings["interests"].cast<std::size_t>()),
        candidate_spreads_(settings["candidate_spreads"].cast<double>()),
        outside_spreads_(settings["outside_spreads"].cast<double>()),
        rounding_(settings["rounding"].cast<double>()),
        from_wish_(settings["from_wish"].cast<int>()),
        from_text_(settings["from_text"].cast<int>()),
        from_collaborative_(settings["from_collaborative"].cast<int>()),
        from_popular_(settings["from_popular"].cast<int>()),
        search_(settings["search"]),
        fill_neighbours_(settings["fill_neighbours"]) {
    const auto items = static_cast<std::size_t>(vectors.shape(0)), dim = static_cast<std::size_t>(vectors.shape(1));
    const auto has = [](const auto& array, std::size_t length) {
      return array.ndim() == 1 && static_cast<std::size_t>(array.shape(0)) == length;
    };
    if (vectors.ndim() != 2 || !has(indptr, items + 1) || !has(indices, weights.size()) || !has(popularity, items) ||
        !has(by_popularity, items) || !has(average, items) || !has(mean, dim) || neighbours.ndim() != 2 ||
        static_cast<std::size_t>(neighbours.shape(0)) != items || similarities.ndim() != 2 ||
        similarities.shape(0) != neighbours.shape(0) || similarities.shape(1) != neighbours.shape(1) ||
        !has(neighbours_found, items)) {
      throw py::value_error("the arrays do not fit one another");
    }
    tables_ = {vectors.data(),
               mean.data(),
               average.data(),
               weights.data(),
               popularity.data(),
               similarities.data(),
               indptr.data(),
               by_popularity.data(),
               indices.data(),
               neighbours.data(),
               neighbours_found.data(),
               items,
               dim,
               static_cast<std::size_t>(neighbours.shape(1))};
    for (std::size_t i = 0; i < items; ++i) check(tables_.by_popularity[i]);
    double sum = 0.0;
    for (std::size_t i = 0; i < items; ++i) sum += tables_.popularity[i];
    mean_popularity_ = sum / static_cast<double>(items);
    sums_.assign(items, 0.0F);
    known_.assign(items, 0.0F);
    marks_.assign(items, 0);
  }

  Page by_wish(const Array<float>& vector, const Array<Position>& near, const Array<float>& similarities,
               std::size_t page_size, const Positions& excluded) {
    const double found_at = now();
    const Wish wish = check(vector, near, similarities);
    const Cleaner cleaner(*this);
    for (const Position item : excluded) mark(item, kOut);
    Positions found;
    std::vector<float> scores;
    for (std::size_t i = 0; i < wish.count; ++i) {
      const Position item = wish.positions[i];
      if (marks_[item] & kOut) continue;
      found.push_back(item);
      scores.push_back(wish_ * wish.similarities[i] + tables_.popularity[item]);
    }
    Page page;
    auto& [positions, page_scores, sources, at] = page;
    for (const std::size_t place : best(scores, found, page_size)) {
      positions.push_back(found[place]);
      page_scores.push_back(scores[place]);
      sources.push_back(from_wish_);
    }
    at = found_at;
    return page;
  }

  Page by_history(const Positions& rows, const std::vector<float>& weights, std::size_t page_size,
                  const Positions& excluded, bool popular, const std::optional<Array<float>>& wish_vector,
                  const std::optional<Array<Position>>& wish_near,
                  const std::optional<Array<float>>& wish_similarities) {
    if (rows.size() != weights.size()) throw py::value_error("a weight for each row");
    if (page_size == 0) throw py::value_error("a page holds an item at least");
    page_size = std::min(page_size, tables_.items);
    std::optional<Wish> wish;
    if (wish_vector) wish = check(*wish_vector, wish_near.value(), wish_similarities.value());
    for (const Position row : rows) check(row);
    const Cleaner cleaner(*this);

    std::vector<float> profile(tables_.dim, 0.0F);
    for (std::size_t h = 0; h < rows.size(); ++h) {
      const float* vector = tables_.vectors + rows[h] * tables_.dim;
      const float weight = weights[h] * history_text_;
      for (std::size_t d = 0; d < tables_.dim; ++d) profile[d] += weight * vector[d];
    }
    const Positions found = shortlist(rows, weights, profile, page_size, excluded, popular, wish);
    const double found_at = now();

    if (wish) {
      for (std::size_t d = 0; d < tables_.dim; ++d) profile[d] += wish_ * wish->vector[d];
    }
    std::vector<float> scores(found.size());
    multiply(tables_.vectors, found, profile.data(), tables_.dim, scores.data());
    for (std::size_t i = 0; i < found.size(); ++i) {
      scores[i] += collaborative_ * sums_[found[i]] + (popular ? tables_.popularity[found[i]] : 0.0F);
    }
    Page page;
    auto& [positions, page_scores, sources, at] = page;
    for (const std::size_t place : best(scores, found, page_size)) {
      const Position item = found[place];
      const std::uint8_t marks = marks_[item];
      positions.push_back(item);
      page_scores.push_back(scores[place]);
      sources.push_back((marks & kNearWish ? from_wish_ : 0) | (marks & kByText ? from_text_ : 0) |
                        (sums_[item] > 0.0F ? from_collaborative_ : 0) | (marks & kPopular ? from_popular_ : 0));
    }
    at = found_at;
    return page;
  }

  // Whether nothing of a call is left behind; for tests.
  bool clean() const {
    return touched_.empty() && std::all_of(sums_.begin(), sums_.end(), [](float sum) { return sum == 0.0F; }) &&
           std::all_of(marks_.begin(), marks_.end(), [](std::uint8_t marks) { return marks == 0; });
  }

 private:
  enum Mark : std::uint8_t { kTouched = 1, kFound = 2, kOut = 4, kPopular = 8, kNearWish = 16, kByText = 32 };

  // Undoes what a call wrote into the arrays as long as the catalogue, however it ends.
  class Cleaner {
   public:
    explicit Cleaner(Ranking& ranking) : ranking_(ranking) {}
    Cleaner(const Cleaner&) = delete;
    Cleaner& operator=(const Cleaner&) = delete;
    ~Cleaner() {
      for (const Position item : ranking_.touched_)
        ranking_.sums_[item] = ranking_.known_[item] = 0.0F, ranking_.marks_[item] = 0;
      ranking_.touched_.clear();
    }

   private:
    Ranking& ranking_;
  };

  void check(Position item) const {
    if (item < 0 || static_cast<std::size_t>(item) >= tables_.items) throw py::index_error("no such item");
  }

  Wish check(const Array<float>& vector, const Array<Position>& near, const Array<float>& similarities) const {
    if (vector.ndim() != 1 || static_cast<std::size_t>(vector.shape(0)) != tables_.dim || near.ndim() != 1 ||
        similarities.ndim() != 1 || near.shape(0) != similarities.shape(0) || near.shape(0) == 0) {
      throw py::value_error("a wish is a vector, and as many positions as similarities");
    }
    const Wish wish{vector.data(), near.data(), similarities.data(), static_cast<std::size_t>(near.shape(0))};
    for (std::size_t i = 0; i < wish.count; ++i) check(wish.positions[i]);
    return wish;
  }

  void touch(Position item) {
    if (!(marks_[item] & kTouched)) {
      marks_[item] |= kTouched;
      touched_.push_back(item);
    }
  }

  void mark(Position item, std::uint8_t marks) {
    check(item);
    touch(item);
    marks_[item] |= marks;
  }

  // Adds an item to those found, unless it is among them or out.
  void find(Position item, std::uint8_t marks, Positions& found) {
    touch(item);
    if (!(marks_[item] & (kFound | kOut))) {
      marks |= kFound;
      found.push_back(item);
    }
    marks_[item] |= marks;
  }

  // The score with averages in place of those products with the profile that are not known, and without the wish.
  float estimate(Position item, float lift, bool popular) const {
    return collaborative_ * sums_[item] + lift * tables_.average[item] + known_[item] +
           (popular ? tables_.popularity[item] : 0.0F);
  }

  // Items that may reach the page, in no order.
  Positions shortlist(const Positions& rows, const std::vector<float>& weights, const std::vector<float>& profile,
                      std::size_t page_size, const Positions& excluded, bool popular, const std::optional<Wish>& wish) {
    Positions pool;
    for (std::size_t h = 0; h < rows.size(); ++h) {
      for (std::int64_t entry = tables_.indptr[rows[h]]; entry < tables_.indptr[rows[h] + 1]; ++entry) {
        touch(tables_.indices[entry]);
        sums_[tables_.indices[entry]] += weights[h] * tables_.weights[entry];
      }
    }
    const std::size_t together = touched_.size();
    for (const Position item : excluded) mark(item, kOut);
    for (std::size_t i = 0; i < together; ++i) {
      if (sums_[touched_[i]] > 0.0F) find(touched_[i], 0, pool);
    }
    const std::size_t reach = std::min(tables_.items, page_size + excluded.size() + spare_);
    if (popular) {
      for (std::size_t i = 0; i < reach; ++i) find(tables_.by_popularity[i], kPopular, pool);
    }
    if (wish) {
      for (std::size_t i = 0; i < wish->count; ++i) find(wish->positions[i], kNearWish, pool);
    }
    const Positions liked = latest_liked(rows, weights);
    find_neighbours(liked, rows, weights, pool);

    float lift = 0.0F;
    for (const float weight : weights) lift += weight * history_text_;
    std::vector<float> estimates(pool.size());
    for (std::size_t i = 0; i < pool.size(); ++i) estimates[i] = estimate(pool[i], lift, popular);
    double most_of_wish = 0.0;
    std::vector<float> known;
    if (wish) {
      for (std::size_t i = 0; i < wish->count; ++i) {
        const Position item = wish->positions[i];
        if (!(marks_[item] & kOut)) known.push_back(estimate(item, lift, popular) + wish_ * wish->similarities[i]);
      }
      // The most that it adds to the score of an item which is not among the nearest to it.
      most_of_wish = std::max(wish_ * wish->similarities[wish->count - 1], -wish_);
    } else {
      known = estimates;
    }
    const double floor = nth_best(known, page_size);
    const auto [mean, deviation] = project(profile.data(), tables_.mean, tables_.dim, spread_, lift);
    const double likely = floor - most_of_wish - candidate_spreads_ * deviation - rounding_;
    Positions found;
    for (std::size_t i = 0; i < pool.size(); ++i) {
      if (estimates[i] >= likely || marks_[pool[i]] & kNearWish) {
        found.push_back(pool[i]);
      } else {
        marks_[pool[i]] &= static_cast<std::uint8_t>(~kFound);
      }
    }
    double outside = mean + outside_spreads_ * deviation + most_of_wish;
    // What popularity adds to the score of an item not among the most popular, half-way to the most.
    if (popular) outside += (mean_popularity_ + tables_.popularity[tables_.by_popularity[reach - 1]]) / 2.0;
    // Of a single like the neighbourhood is the profile's; dislikes would turn the profile away from it.
    const bool alone = liked.size() == 1 && rows.size() == 1 && reach <= tables_.neighbours_width;
    if (!liked.empty() && !alone && floor < outside) find_nearest(profile, reach, found);
    return found;
  }

  // Distinct items with a positive weight, the latest first, as many as may bring neighbours.
  Positions latest_liked(const Positions& rows, const std::vector<float>& weights) const {
    Positions liked;
    for (std::size_t h = rows.size(); h-- > 0 && liked.size() < interests_;) {
      if (weights[h] > 0.0F && std::find(liked.begin(), liked.end(), rows[h]) == liked.end()) liked.push_back(rows[h]);
    }
    return liked;
  }

  // Finds the neighbourhoods of some items by text; their products are known.
  void find_neighbours(const Positions& liked, const Positions& rows, const std::vector<float>& weights,
                       Positions& pool) {
    if (liked.empty()) return;
    Positions missing;
    for (const Position item : liked) {
      if (!tables_.neighbours_found[item]) missing.push_back(item);
    }
    if (!missing.empty()) fill_neighbours_(missing);
    const std::size_t width = tables_.neighbours_width;
    for (const Position item : liked) {
      float weight = 0.0F;
      for (std::size_t h = 0; h < rows.size(); ++h) {
        if (rows[h] == item) weight += weights[h] * history_text_;
      }
      const std::int32_t* row = tables_.neighbours + item * width;
      const float* similarities = tables_.similarities + item * width;
      for (std::size_t i = 0; i < width; ++i) {
        check(row[i]);
        find(row[i], kByText, pool);
        known_[row[i]] += weight * (similarities[i] - tables_.average[row[i]]);
      }
    }
  }

  // The items whose text is most like that of the whole history.
  void find_nearest(const std::vector<float>& profile, std::size_t reach, Positions& found) {
    constexpr float kLeastLength = 1e-6F;  // a shorter profile has no direction
    const float length = std::sqrt(dot(profile.data(), profile.data(), profile.size()));
    if (length < kLeastLength) return;
    Array<float> query({static_cast<py::ssize_t>(1), static_cast<py::ssize_t>(profile.size())});
    for (std::size_t d = 0; d < profile.size(); ++d) query.mutable_data()[d] = profile[d] / length;
    const auto nearest = search_(query, reach).cast<Array<Position>>();
    for (py::ssize_t i = 0; i < nearest.size(); ++i) {
      check(nearest.data()[i]);
      find(nearest.data()[i], kByText, found);
    }
  }

  py::tuple owner_;
  Tables tables_;
  const float collaborative_, history_text_, wish_;
  const double spread_;
  const std::size_t spare_, interests_;
  const double candidate_spreads_, outside_spreads_, rounding_;
  const int from_wish_, from_text_, from_collaborative_, from_popular_;
  const py::function search_, fill_neighbours_;
  double mean_popularity_;
  // By item: the sum over B; by how much the known products differ from the average; marks.
  std::vector<float> sums_, known_;
  std::vector<std::uint8_t> marks_;
  Positions touched_;
};

}  // namespace

PYBIND11_MODULE(_ranking, module) {
  module.doc() = "The inner loops of ranking.";
  py::class_<Ranking>(module, "Ranking")
      .def(py::init<Array<float>, Array<std::int64_t>, Array<std::int32_t>, Array<float>, Array<float>,
                    Array<std::int64_t>, Array<float>, Array<float>, Array<std::int32_t>, Array<float>,
                    Array<std::uint8_t>, const py::kwargs&>(),
           py::arg("vectors").noconvert(), py::arg("indptr").noconvert(), py::arg("indices").noconvert(),
           py::arg("weights").noconvert(), py::arg("popularity").noconvert(), py::arg("by_popularity").noconvert(),
           py::arg("average").noconvert(), py::arg("mean").noconvert(), py::arg("neighbours").noconvert(),
           py::arg("similarities").noconvert(), py::arg("neighbours_found").noconvert())
      .def("by_wish", &Ranking::by_wish, py::arg("vector"), py::arg("near"), py::arg("similarities"),
           py::arg("page_size"), py::arg("excluded"))
      .def("by_history", &Ranking::by_history, py::arg("rows"), py::arg("weights"), py::arg("page_size"),
           py::arg("excluded"), py::arg("popular"), py::arg("wish_vector") = py::none(),
           py::arg("wish_near") = py::none(), py::arg("wish_similarities") = py::none())
      .def("clean", &Ranking::clean);
  module.def(
      "project",
      [](const Array<float>& direction, const Array<float>& mean, double spread, double lift) {
        if (direction.ndim() != 1 || mean.ndim() != 1 || direction.shape(0) != mean.shape(0)) {
          throw py::value_error("the direction has as many dimensions as the mean");
        }
        return project(direction.data(), mean.data(), static_cast<std::size_t>(mean.shape(0)), spread, lift);
      },
      py::arg("direction").noconvert(), py::arg("mean").noconvert(), py::arg("spread"), py::arg("lift"));
}
