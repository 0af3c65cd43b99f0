// The greedy choice of diversity.py, which says what is chosen and why.

#include <limits>
#include <numeric>

#include "_native.h"

namespace {

class Chooser {
 public:
  // `categories` has the categories of each item, but for those of which the growth tells otherwise.
  Chooser(const py::handle& vectors, const py::handle& categories, std::size_t category_count, const py::object& growth)
      : owner_(py::make_tuple(categories, growth)),
        growth_(growth.is_none() ? nullptr : growth.cast<tanager::Growth*>()),
        vectors_(take<float>(vectors, 2, "vectors")),
        items_(static_cast<std::size_t>(vectors_.shape(0))),
        dim_(static_cast<std::size_t>(vectors_.shape(1))),
        categories_(categories, category_count, "categories"),
        category_count_(category_count) {
    if (categories_.rows > items_) throw py::value_error("categories: a row for each item");
  }

  // Indices of the chosen candidates, by score, highest first. `groups` are the interests of candidates and `shares`
  // what part of the list each of them is due; both may be empty.
  std::vector<std::size_t> choose(const Positions& positions, const std::vector<float>& scores,
                                  const std::vector<std::size_t>& groups, const std::vector<double>& shares,
                                  double spread, double mmr_lambda, std::size_t max_per_category,
                                  std::size_t count) const {
    if (scores.size() != positions.size() || (!groups.empty() && groups.size() != positions.size())) {
      throw py::value_error("a score, and a group if there are any, for each candidate");
    }
    for (const Position item : positions) {
      if (item < 0 || static_cast<std::size_t>(item) >= items_) throw py::index_error("no such item");
    }
    for (const std::size_t group : groups) {
      if (group >= shares.size()) throw py::index_error("no such group");
    }
    const std::size_t n = positions.size();
    const double unit = spread > 0.0 ? spread : 1.0;
    std::vector<double> likeness(n, 0.0);
    Likeness like(*this, positions);
    std::vector<char> gone(n, 0);
    std::vector<std::size_t> in_category(categories(), 0), chosen;
    std::vector<std::size_t> owed = groups.empty() ? std::vector<std::size_t>() : places(shares, count);
    const auto full = [&](Position item) {
      if (max_per_category == 0) return false;
      for (const std::int32_t category : of(item)) {
        if (in_category[category] >= max_per_category) return true;
      }
      return false;
    };
    const auto best_of = [&](bool owed_alone) {
      std::size_t best = n;
      double highest = -std::numeric_limits<double>::infinity();
      for (std::size_t i = 0; i < n; ++i) {
        if (gone[i] || (owed_alone && owed[groups[i]] == 0)) continue;
        if (full(positions[i])) {
          gone[i] = 1;  // what is full stays full
          continue;
        }
        const double mean = chosen.empty() ? 0.0 : likeness[i] / static_cast<double>(chosen.size());
        const double value = mmr_lambda * scores[i] / unit - (1.0 - mmr_lambda) * mean;
        if (value > highest) highest = value, best = i;
      }
      return best;
    };
    while (chosen.size() < count) {
      // The best, whosever it is, until all places that are left are owed to somebody.
      std::size_t next = n;
      if (std::accumulate(owed.begin(), owed.end(), chosen.size()) >= count) next = best_of(true);
      if (next == n) next = best_of(false);
      if (next == n) break;
      chosen.push_back(next);
      gone[next] = 1;
      if (!owed.empty() && owed[groups[next]] > 0) --owed[groups[next]];
      for (const std::int32_t category : of(positions[next])) ++in_category[category];
      if (mmr_lambda < 1.0) like.add(positions[next], likeness);
    }
    std::sort(chosen.begin(), chosen.end(),
              [&](std::size_t a, std::size_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
    return chosen;
  }

 private:
  struct Categories {
    const std::int32_t *first, *last;
    const std::int32_t* begin() const { return first; }
    const std::int32_t* end() const { return last; }
    std::size_t size() const { return static_cast<std::size_t>(last - first); }
  };

  // How many there are.
  std::size_t categories() const {
    return growth_ == nullptr ? category_count_ : std::max(category_count_, growth_->category_count);
  }

  Categories of(Position item) const {
    if (growth_ != nullptr && !growth_->categories.empty()) {
      const auto found = growth_->categories.find(item);
      if (found != growth_->categories.end()) {
        return {found->second.data(), found->second.data() + found->second.size()};
      }
    }
    if (static_cast<std::size_t>(item) >= categories_.rows) return {nullptr, nullptr};
    return {categories_.indices + categories_.indptr[item], categories_.indices + categories_.indptr[item + 1]};
  }

  // How alike the candidates are to one item after the other: the Jaccard index of the categories, or where one of two
  // has none the cosine of the texts.
  class Likeness {
   public:
    Likeness(const Chooser& of, const Positions& candidates)
        : of_(of), candidates_(candidates), is_its_(of.categories(), 0) {
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (of.of(candidates[i]).size() > 0) continue;
        without_.push_back(i);
        positions_without_.push_back(candidates[i]);
      }
      products_.resize(candidates.size());
    }

    // Adds how alike each candidate is to an item.
    void add(Position item, std::vector<double>& sums) {
      const float* vectors = of_.vectors_.data();
      const auto its = of_.of(item);
      if (its.size() == 0) {
        multiply(vectors, candidates_, vectors + item * of_.dim_, of_.dim_, products_.data());
        for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += products_[i];
        return;
      }
      for (const std::int32_t category : its) is_its_[category] = 1;
      for (std::size_t i = 0; i < sums.size(); ++i) {
        const auto own = of_.of(candidates_[i]);
        std::size_t common = 0;
        for (const std::int32_t category : own) common += is_its_[category];
        sums[i] += static_cast<double>(common) / static_cast<double>(own.size() + its.size() - common);
      }
      for (const std::int32_t category : its) is_its_[category] = 0;
      multiply(vectors, positions_without_, vectors + item * of_.dim_, of_.dim_, products_.data());
      for (std::size_t k = 0; k < without_.size(); ++k) sums[without_[k]] += products_[k];
    }

   private:
    const Chooser& of_;
    const Positions& candidates_;
    std::vector<std::size_t> without_;
    Positions positions_without_;
    std::vector<std::size_t> is_its_;
    std::vector<float> products_;
  };

  // How many places of a list each interest is owed: half of all, by Sainte-Laguë's quotients.
  static std::vector<std::size_t> places(const std::vector<double>& shares, std::size_t count) {
    std::vector<std::size_t> owed(shares.size(), 0);
    for (std::size_t place = 0; place < count / 2; ++place) {
      std::size_t next = 0;
      double highest = -1.0;
      for (std::size_t group = 0; group < shares.size(); ++group) {
        const double due = shares[group] / (2.0 * static_cast<double>(owed[group]) + 1.0);
        if (due > highest) highest = due, next = group;
      }
      ++owed[next];
    }
    return owed;
  }

  py::object owner_;
  const tanager::Growth* growth_;
  Array<float> vectors_;
  const std::size_t items_, dim_;
  const Rows categories_;
  const std::size_t category_count_;
};

}  // namespace

PYBIND11_MODULE(_diversity, module) {
  module.doc() = "The greedy choice of diverse items.";
  py::class_<Chooser>(module, "Chooser")
      .def(py::init<py::handle, py::handle, std::size_t, py::object>(), py::arg("vectors"), py::arg("categories"),
           py::arg("category_count"), py::arg("growth") = py::none())
      .def("choose", &Chooser::choose, py::arg("positions"), py::arg("scores"), py::arg("groups"), py::arg("shares"),
           py::arg("spread"), py::arg("mmr_lambda"), py::arg("max_per_category"), py::arg("count"));
}
