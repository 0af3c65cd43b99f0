// The inner loops of ranking.py, which says what they compute and why. Everything here takes time that grows with the
// request, never with the catalogue.

#include <chrono>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include "_native.h"

namespace {

// Positions, scores, `Source` flags, and when the candidates had been found, on the monotonic clock in seconds.
using Page = std::tuple<Positions, std::vector<float>, std::vector<int>, double>;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

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

// Texts that are asked for, as one vector: its products count `weight` times.
struct Asked {
  Array<float> vector;
  Array<Position> positions;
  Array<float> similarities;
  float weight;
  int source;
  std::size_t count;
};

class Ranking : Tables {
 public:
  explicit Ranking(const py::kwargs& settings)
      : Tables(settings),
        collaborative_(settings["collaborative"].cast<float>()),
        transitions_(settings["transitions_weight"].cast<float>()),
        history_text_(settings["history_text"].cast<float>()),
        wish_prior_(settings["wish_prior"].cast<float>()),
        profile_(settings["profile"].cast<float>()),
        collaborative_half_life_(settings["collaborative_half_life"].cast<double>()),
        transitions_half_life_(settings["transitions_half_life"].cast<double>()),
        history_text_half_life_(settings["history_text_half_life"].cast<double>()),
        known_events_(settings["known_events"].cast<double>()),
        spread_(settings["spread"].cast<double>()),
        spare_(settings["spare"].cast<std::size_t>()),
        interests_(settings["interests"].cast<std::size_t>()),
        candidate_spreads_(settings["candidate_spreads"].cast<double>()),
        outside_spreads_(settings["outside_spreads"].cast<double>()),
        most_listed_(settings["most_listed"].cast<std::size_t>()),
        rounding_(settings["rounding"].cast<double>()),
        from_text_(settings["from_text"].cast<int>()),
        from_collaborative_(settings["from_collaborative"].cast<int>()),
        from_popular_(settings["from_popular"].cast<int>()),
        from_transition_(settings["from_transition"].cast<int>()),
        from_profile_(settings["from_profile"].cast<int>()),
        from_sequence_(settings["from_sequence"].cast<int>()),
        search_(settings["search"]),
        search_sequence_(settings["search_sequence"]),
        fill_neighbours_(settings["fill_neighbours"]) {
    const auto by_prior = take<Position>(settings["by_prior"], 2, "by_prior");
    const auto average = take<float>(settings["average"], 1, "average"),
               mean = take<float>(settings["mean"], 1, "mean");
    const auto near = take<std::int32_t>(settings["near"], 2, "near");
    const auto similarities = take<float>(settings["similarities"], 2, "similarities");
    const auto near_found = take<std::uint8_t>(settings["near_found"], 1, "near_found");
    const auto items = static_cast<py::ssize_t>(items_);
    indexed_ = static_cast<std::size_t>(by_prior.shape(1));
    if (by_prior.shape(0) != 2 || indexed_ == 0 || indexed_ > items_ || average.shape(0) != items ||
        mean.shape(0) != static_cast<py::ssize_t>(dim_) || near.shape(0) != items || similarities.shape(0) != items ||
        near.shape(1) != similarities.shape(1) || near_found.shape(0) != items) {
      throw py::value_error("the arrays do not fit one another");
    }
    by_prior_ = by_prior.data(), by_both_ = by_prior_ + indexed_;
    average_ = average.data(), mean_ = mean.data();
    near_ = near.data(), similarities_ = similarities.data(), near_found_ = near_found.data();
    width_ = static_cast<std::size_t>(near.shape(1));
    for (std::size_t i = 0; i < 2 * indexed_; ++i) check(by_prior_[i]);
    double prior = 0.0, prior_known = 0.0;
    for (std::size_t i = 0; i < indexed_; ++i) prior += prior_[i], prior_known += prior_known_[i];
    const auto indexed = static_cast<double>(indexed_);
    mean_prior_ = prior / indexed, mean_prior_known_ = prior_known / indexed;
    cells_.assign(items_, Cell{});
  }

  Page by_wish(const py::tuple& asked, const Positions& attributes, std::size_t page_size, const Positions& excluded,
               const py::tuple& view) {
    const double found_at = now();
    const Asked wish = check(asked);
    const View seen = look(view);
    check_attributes(attributes);
    const Cleaner cleaner(*this);
    for (const Position item : excluded) mark(item, kOut);
    for (const Position row : attributes) scatter(attributes_, row, profile_, &Cell::profile);
    Positions found;
    std::vector<float> scores;
    const auto add = [&](Position item, float similarity) {
      found.push_back(item);
      scores.push_back(wish.weight * similarity + wish_prior_ * (prior_[item] + cells_[item].profile));
    };
    for (std::size_t i = 0; i < wish.count; ++i) {
      const Position item = wish.positions.data()[i];
      if (!(cells_[item].marks & kOut) && seen.allows(item)) add(item, wish.similarities.data()[i]);
    }
    for (const Position item : seen.exact) {
      if (cells_[item].marks & kOut) continue;
      add(item, dot(vectors_ + item * dim_, wish.vector.data(), dim_));
    }
    Page page;
    auto& [positions, page_scores, sources, at] = page;
    for (const std::size_t place : best(scores, found, page_size)) {
      positions.push_back(found[place]);
      page_scores.push_back(scores[place]);
      sources.push_back(wish.source | (cells_[found[place]].profile > 0.0F ? from_profile_ : 0));
    }
    at = found_at;
    return page;
  }

  Page by_history(const Positions& rows, const std::vector<float>& weights, const Positions& attributes,
                  const std::optional<py::tuple>& asked, const std::optional<Array<float>>& expected,
                  std::size_t page_size, const Positions& excluded, bool personal, const py::tuple& view) {
    if (rows.size() != weights.size()) throw py::value_error("a weight for each row");
    const View seen = look(view);
    if (page_size == 0) throw py::value_error("a page holds an item at least");
    page_size = std::min(page_size, items_);
    std::optional<Asked> wish;
    if (asked) wish = check(*asked);
    for (const Position row : rows) check(row);
    check_attributes(attributes);
    const Cleaner cleaner(*this);

    Call call = begin(rows, weights, attributes, expected, personal);
    const Positions found = shortlist(call, page_size, excluded, wish, seen);
    const double found_at = now();

    const std::vector<float> scores = score(found, call, wish);
    Page page;
    auto& [positions, page_scores, sources, at] = page;
    for (const std::size_t place : best(scores, found, page_size)) {
      const Cell& cell = cells_[found[place]];
      positions.push_back(found[place]);
      page_scores.push_back(scores[place]);
      const int source = (cell.marks & kAsked ? wish->source : 0) | (cell.marks & kByText ? from_text_ : 0) |
                         (cell.marks & kPopular ? from_popular_ : 0) | (cell.marks & kExpected ? from_sequence_ : 0) |
                         sources_beside_text(cell);
      // What is looked at whatever it is was found by what it is compared with.
      const int otherwise = wish ? wish->source : rows.empty() ? from_popular_ : from_text_;
      sources.push_back(source != 0 ? source : otherwise);
    }
    at = found_at;
    return page;
  }

  // The scores of some items, in their order, and by what of the sums they would have been found.
  std::pair<std::vector<float>, std::vector<int>> score_items(const Positions& items, const Positions& rows,
                                                              const std::vector<float>& weights,
                                                              const Positions& attributes,
                                                              const std::optional<py::tuple>& asked,
                                                              const std::optional<Array<float>>& expected) {
    if (rows.size() != weights.size()) throw py::value_error("a weight for each row");
    std::optional<Asked> wish;
    if (asked) wish = check(*asked);
    for (const Position row : rows) check(row);
    for (const Position item : items) check(item);
    check_attributes(attributes);
    const Cleaner cleaner(*this);
    Call call = begin(rows, weights, attributes, expected, true);
    std::vector<int> sources;
    for (const Position item : items) sources.push_back(sources_beside_text(cells_[item]));
    return {score(items, call, wish), sources};
  }

  // Whether nothing of a call is left behind; for tests.
  bool clean() const {
    return touched_.empty() && std::all_of(cells_.begin(), cells_.end(), [](const Cell& cell) {
             return cell.together == 0.0F && cell.follows == 0.0F && cell.profile == 0.0F && cell.known == 0.0F &&
                    cell.marks == 0;
           });
  }

 private:
  enum Mark : std::uint8_t {
    kTouched = 1,
    kFound = 2,
    kOut = 4,
    kPopular = 8,
    kAsked = 16,
    kByText = 32,
    kNearest = 64,
    kExpected = 128
  };

  // What a call keeps of an item: the sums over B, T and A, by how much the products that are known differ from the
  // average, and marks. Side by side, for they are needed together.
  struct Cell {
    float together, follows, profile, known;
    std::uint8_t marks;
  };

  // What a call is about: the history, its weights in the text and the vector that they make, how much of the average
  // product is in that, and how far the user is known.
  struct Call {
    const Positions& rows;
    const std::vector<float>& weights;
    std::vector<float> text, direction;
    float lift, known;
    bool personal;                // or else about an item
    std::vector<float> expected;  // the vector of what the sequence head says comes next, with its weight; or empty,
                                  // for which only B and the text count
  };

  // Which items a call may answer with: of those in the index the ones with a byte other than 0, all if there are no
  // bytes; and beside them some, in no order and none twice, that are looked at one by one. Where nothing but these is
  // to be looked at, `share`, the part of the index that may be answered with, is 0.
  struct View {
    py::object bytes;
    const std::uint8_t* allowed;
    Positions exact;
    double share;

    bool allows(Position item) const { return share > 0.0 && (allowed == nullptr || allowed[item] != 0); }
    // How far one has to go to meet so many that are allowed.
    std::size_t places(std::size_t count, std::size_t most) const {
      return share > 0.0 ? static_cast<std::size_t>(std::min<double>(count / share, most)) : 0;
    }
  };

  View look(const py::tuple& value) const {
    if (value.size() != 3) throw py::value_error("a view is bytes, positions and a share");
    View view{value[0], nullptr, {}, value[2].cast<double>()};
    if (!view.bytes.is_none()) {
      const auto bytes = take<std::uint8_t>(view.bytes, 1, "allowed");
      if (static_cast<std::size_t>(bytes.size()) != items_) throw py::value_error("allowed: a byte for each item");
      view.allowed = bytes.data();
    }
    const auto exact = take<Position>(value[1], 1, "exact");
    view.exact.assign(exact.data(), exact.data() + exact.size());
    for (const Position item : view.exact) check(item);
    if (!(view.share >= 0.0 && view.share <= 1.0)) throw py::value_error("share: 0 to 1");
    return view;
  }

  // Undoes what a call wrote into the cells, however it ends.
  class Cleaner {
   public:
    explicit Cleaner(Ranking& ranking) : ranking_(ranking) {}
    Cleaner(const Cleaner&) = delete;
    Cleaner& operator=(const Cleaner&) = delete;
    ~Cleaner() {
      for (const Position item : ranking_.touched_) ranking_.cells_[item] = Cell{};
      ranking_.touched_.clear();
    }

   private:
    Ranking& ranking_;
  };

  // Adds up what is known before any item is looked at.
  Call begin(const Positions& rows, const std::vector<float>& weights, const Positions& attributes,
             const std::optional<Array<float>>& expected, bool personal) {
    Call call{rows,     weights, decayed(weights, history_text_half_life_), std::vector<float>(dim_, 0.0F), 0.0F, 0.0F,
              personal, {}};
    if (expected) {
      if (expected->ndim() != 1 || static_cast<std::size_t>(expected->size()) != sequence_dim_) {
        throw py::value_error("what is expected next has as many dimensions as the vectors of the sequence");
      }
      call.expected.assign(expected->data(), expected->data() + sequence_dim_);
    }
    float total = 0.0F;
    for (const float weight : call.text) total += std::abs(weight);
    for (float& weight : call.text) weight = total > 0.0F ? weight / total * history_text_ : 0.0F;
    for (std::size_t h = 0; h < rows.size(); ++h) {
      const float* vector = vectors_ + rows[h] * dim_;
      for (std::size_t d = 0; d < dim_; ++d) call.direction[d] += call.text[h] * vector[d];
      call.lift += call.text[h];
    }
    const auto events = static_cast<double>(rows.size());
    call.known = static_cast<float>(events > 0.0 ? events / (events + known_events_) : 0.0);
    add_up(call, attributes);
    return call;
  }

  // The scores of some items. The texts that were asked for go into the call's direction.
  std::vector<float> score(const Positions& items, Call& call, const std::optional<Asked>& wish) const {
    if (wish) {
      for (std::size_t d = 0; d < dim_; ++d) call.direction[d] += wish->weight * wish->vector.data()[d];
    }
    std::vector<float> scores(items.size());
    multiply(vectors_, items, call.direction.data(), dim_, scores.data());
    for (std::size_t i = 0; i < items.size(); ++i) scores[i] += beside_text(items[i], call) + expected(items[i], call);
    return scores;
  }

  int sources_beside_text(const Cell& cell) const {
    return (cell.together > 0.0F ? from_collaborative_ : 0) | (cell.follows > 0.0F ? from_transition_ : 0) |
           (cell.profile > 0.0F ? from_profile_ : 0);
  }

  void check(Position item) const {
    if (item < 0 || static_cast<std::size_t>(item) >= items_) throw py::index_error("no such item");
  }

  void check_attributes(const Positions& attributes) const {
    for (const Position row : attributes) {
      if (row < 0 || static_cast<std::size_t>(row) >= attributes_.rows) throw py::index_error("no such attribute");
    }
  }

  Asked check(const py::tuple& asked) const {
    if (asked.size() != 5) throw py::value_error("a vector, positions, similarities, weight and source");
    Asked wish{take<float>(asked[0], 1, "vector"),
               take<Position>(asked[1], 1, "positions"),
               take<float>(asked[2], 1, "similarities"),
               asked[3].cast<float>(),
               asked[4].cast<int>(),
               0};
    wish.count = static_cast<std::size_t>(wish.positions.size());
    if (static_cast<std::size_t>(wish.vector.size()) != dim_ || wish.similarities.size() != wish.positions.size()) {
      throw py::value_error("a wish is a vector, and as many positions as similarities");
    }
    for (std::size_t i = 0; i < wish.count; ++i) check(wish.positions.data()[i]);
    return wish;
  }

  void touch(Position item) {
    std::uint8_t& marks = cells_[item].marks;
    if (!(marks & kTouched)) {
      marks |= kTouched;
      touched_.push_back(item);
    }
  }

  void mark(Position item, std::uint8_t marks) {
    check(item);
    touch(item);
    cells_[item].marks |= marks;
  }

  // Adds an item to those found, unless it is among them, out, or not to be seen.
  void find(Position item, std::uint8_t marks, Positions& found, const View& view) {
    touch(item);
    if (!(cells_[item].marks & (kFound | kOut))) {
      if (!view.allows(item)) return;
      marks |= kFound;
      found.push_back(item);
    }
    cells_[item].marks |= marks;
  }

  void scatter(const Rows& matrix, Position row, float weight, float Cell::* sum) {
    matrix.each(row, [&](std::int32_t item, float entry) {
      touch(item);
      cells_[item].*sum += weight * entry;
    });
  }

  // The sums over B, T and A, with their weights in the score.
  void add_up(const Call& call, const Positions& attributes) {
    const std::vector<float> together = decayed(call.weights, collaborative_half_life_);
    for (std::size_t h = 0; h < call.rows.size(); ++h) {
      scatter(together_, call.rows[h], collaborative_ * together[h], &Cell::together);
    }
    if (!call.personal) return;
    const std::vector<float> follows = decayed(call.weights, transitions_half_life_);
    for (std::size_t h = 0; h < call.rows.size(); ++h) {
      scatter(follows_, call.rows[h], transitions_ * follows[h], &Cell::follows);
    }
    for (const Position row : attributes) scatter(attributes_, row, profile_ * (1.0F - call.known), &Cell::profile);
  }

  // What is added to an item's score for anybody who is as well known.
  float prior(Position item, const Call& call) const {
    return call.personal ? prior_[item] + call.known * prior_known_[item] : 0.0F;
  }

  float beside_text(Position item, const Call& call) const {
    const Cell& cell = cells_[item];
    return cell.together + cell.follows + cell.profile + prior(item, call);
  }

  // What the sequence head adds to an item's score.
  float expected(Position item, const Call& call) const {
    return call.expected.empty() ? 0.0F
                                 : dot(sequence_vectors_ + item * sequence_dim_, call.expected.data(), sequence_dim_);
  }

  // The score with averages in place of those products with the history's text that are not known, and without the
  // wish.
  float estimate(Position item, const Call& call) const {
    return beside_text(item, call) + expected(item, call) + call.lift * average_[item] + cells_[item].known;
  }

  // The most that priors add to the score of an item that is in neither list so far. For a user who is known in part
  // they lie between the two orders: (1 - known) * prior + known * (prior + prior_known).
  double prior_beyond(std::size_t listed, const Call& call) const {
    const Position last = by_prior_[listed - 1], last_both = by_both_[listed - 1];
    const double both = static_cast<double>(prior_[last_both]) + prior_known_[last_both];
    return (1.0 - call.known) * prior_[last] + call.known * both;
  }

  // Items that may reach the page, in no order.
  Positions shortlist(const Call& call, std::size_t page_size, const Positions& excluded,
                      const std::optional<Asked>& wish, const View& view) {
    Positions pool, found;
    const std::size_t summed = touched_.size();
    for (const Position item : excluded) mark(item, kOut);
    for (const Position item : view.exact) {
      touch(item);
      std::uint8_t& marks = cells_[item].marks;
      if (marks & kOut) continue;
      marks |= kFound | kNearest;  // so nobody else adds it
      found.push_back(item);
    }
    if (view.share == 0.0) return found;
    for (std::size_t i = 0; i < summed; ++i) {
      const Cell& cell = cells_[touched_[i]];
      if (cell.together + cell.follows + cell.profile > 0.0F) find(touched_[i], 0, pool, view);
    }
    if (wish) {
      for (std::size_t i = 0; i < wish->count; ++i) find(wish->positions.data()[i], kAsked, pool, view);
    }
    const Positions liked = latest_liked(call.rows, call.weights);
    const std::size_t near = find_neighbours(liked, call, pool, view);
    const auto [mean, deviation] = project(call.direction.data(), mean_, dim_, spread_, call.lift);

    const std::size_t reach = std::min(indexed_, page_size + excluded.size() + spare_);
    std::size_t listed = 0;
    std::vector<float> estimates;
    // The most that the sequence head adds to the score of an item which was not found by it.
    double most_of_sequence = 0.0;
    if (!call.expected.empty()) {
      const Position last = find_expected(call, reach, pool, view);
      if (last >= 0) most_of_sequence = expected(last, call);
    }
    if (call.personal) {
      list(view.places(reach, indexed_), listed, call, pool, view);
      while (listed < indexed_ && pool.size() < page_size)
        list(std::min(indexed_, 2 * listed), listed, call, pool, view);
    }
    double floor = floor_of(pool, estimates, page_size, call, wish);
    // The most that the wish adds to the score of an item which is not among the nearest to it.
    double most_of_wish = 0.0;
    if (wish) {
      const float last = wish->count > 0 ? wish->similarities.data()[wish->count - 1] : 1.0F;
      most_of_wish = std::max(wish->weight * last, -wish->weight);
    }
    // The most that the history's text adds to that of an item which was not found by it.
    double most_of_text = mean + outside_spreads_ * deviation;
    double outside = most_of_text + most_of_wish + most_of_sequence;
    // What priors add to the score of an item beyond the lists, half-way to the most.
    if (call.personal) outside += (mean_prior_ + call.known * mean_prior_known_ + prior_beyond(listed, call)) / 2.0;
    if (liked.size() == 1 && call.rows.size() == 1 && reach <= width_ && near >= std::min(width_, page_size)) {
      // Of a single like the neighbourhood is the history's; dislikes would turn it away from that.
      most_of_text = std::min<double>(most_of_text, call.lift * similarities_[(liked[0] + 1) * width_ - 1]);
    } else if (!liked.empty() && floor < outside) {
      const Position last = find_nearest(call.direction, reach, found, view);
      if (last >= 0) most_of_text = dot(vectors_ + last * dim_, call.direction.data(), dim_);
    }
    if (call.personal) {
      // Where items beyond the lists may come before the page, read on: to the end if that is certain to help.
      const std::size_t some = view.places(std::max(reach, most_listed_), indexed_);
      const std::size_t most = std::max(listed, deviation > 0.0 || wish ? some : indexed_);
      while (listed < most && floor < prior_beyond(listed, call) + most_of_text + most_of_wish + most_of_sequence) {
        list(std::min(most, 2 * listed), listed, call, pool, view);
        floor = floor_of(pool, estimates, page_size, call, wish);
      }
    }
    const double likely = floor - most_of_wish - candidate_spreads_ * deviation - rounding_;
    for (std::size_t i = 0; i < pool.size(); ++i) {
      const std::uint8_t marks = cells_[pool[i]].marks;
      if (!(marks & kNearest) && (estimates[i] >= likely || marks & kAsked)) found.push_back(pool[i]);
    }
    return found;
  }

  // Adds to the pool the best by priors, from both orders, up to a place in them.
  void list(std::size_t until, std::size_t& listed, const Call& call, Positions& pool, const View& view) {
    for (; listed < until; ++listed) {
      find(by_prior_[listed], kPopular, pool, view);
      if (call.known > 0.0F) find(by_both_[listed], kPopular, pool, view);
    }
  }

  // What an item must have to be on the page, as far as it can be told: estimates, with the wish where it is known.
  double floor_of(const Positions& pool, std::vector<float>& estimates, std::size_t page_size, const Call& call,
                  const std::optional<Asked>& wish) const {
    for (std::size_t i = estimates.size(); i < pool.size(); ++i) estimates.push_back(estimate(pool[i], call));
    std::vector<float> known;
    if (wish) {
      for (std::size_t i = 0; i < wish->count; ++i) {
        const Position item = wish->positions.data()[i];
        if (cells_[item].marks & kOut) continue;
        known.push_back(estimate(item, call) + wish->weight * wish->similarities.data()[i]);
      }
    } else {
      known = estimates;
    }
    return nth_best(known, page_size);
  }

  // Distinct items with a positive weight, the latest first, as many as may bring neighbours.
  Positions latest_liked(const Positions& rows, const std::vector<float>& weights) const {
    Positions liked;
    for (std::size_t h = rows.size(); h-- > 0 && liked.size() < interests_;) {
      if (weights[h] > 0.0F && std::find(liked.begin(), liked.end(), rows[h]) == liked.end()) liked.push_back(rows[h]);
    }
    return liked;
  }

  // Finds the neighbourhoods of some items by text; their products are known. Tells how many of the first one's may be
  // answered with.
  std::size_t find_neighbours(const Positions& liked, const Call& call, Positions& pool, const View& view) {
    if (liked.empty()) return 0;
    std::size_t of_first = 0;
    Positions missing;
    for (const Position item : liked) {
      if (!near_found_[item]) missing.push_back(item);
    }
    if (!missing.empty()) fill_neighbours_(missing);
    for (const Position item : liked) {
      float weight = 0.0F;
      for (std::size_t h = 0; h < call.rows.size(); ++h) {
        if (call.rows[h] == item) weight += call.text[h];
      }
      const std::int32_t* row = near_ + item * width_;
      const float* similarities = similarities_ + item * width_;
      for (std::size_t i = 0; i < width_; ++i) {
        check(row[i]);
        find(row[i], kByText, pool, view);
        cells_[row[i]].known += weight * (similarities[i] - average_[row[i]]);
        of_first += item == liked[0] && view.allows(row[i]) && !(cells_[row[i]].marks & kOut);
      }
    }
    return of_first;
  }

  // The items that the sequence head says come next; the least likely of them, or -1 if it says nothing.
  Position find_expected(const Call& call, std::size_t reach, Positions& pool, const View& view) {
    const auto next = nearest(search_sequence_, call.expected, reach, view);
    for (const Position item : next) find(item, kExpected, pool, view);
    return next.empty() ? -1 : next.back();
  }

  // What a search finds nearest to a direction; nothing if it is none.
  Positions nearest(const py::function& search, const std::vector<float>& direction, std::size_t reach,
                    const View& view) const {
    constexpr float kLeastLength = 1e-6F;  // a shorter one has no direction
    const float length = std::sqrt(dot(direction.data(), direction.data(), direction.size()));
    if (length < kLeastLength) return {};
    Array<float> query({static_cast<py::ssize_t>(1), static_cast<py::ssize_t>(direction.size())});
    for (std::size_t d = 0; d < direction.size(); ++d) query.mutable_data()[d] = direction[d] / length;
    const auto found = search(query, reach, view.bytes).cast<Array<Position>>();
    const Positions items(found.data(), found.data() + found.size());
    for (const Position item : items) check(item);
    return items;
  }

  // The items whose text is most like that of the whole history; the least like of them, or -1 if it has no direction.
  Position find_nearest(const std::vector<float>& direction, std::size_t reach, Positions& found, const View& view) {
    const auto by_text = nearest(search_, direction, reach, view);
    for (const Position item : by_text) {
      if (!view.allows(item)) continue;
      touch(item);
      std::uint8_t& marks = cells_[item].marks;
      if (!(marks & (kNearest | kOut))) found.push_back(item);
      marks |= kByText | kFound | kNearest;
    }
    return by_text.empty() ? -1 : by_text.back();
  }

  const float collaborative_, transitions_, history_text_, wish_prior_, profile_;
  const double collaborative_half_life_, transitions_half_life_, history_text_half_life_, known_events_;
  const double spread_;
  const std::size_t spare_, interests_;
  const double candidate_spreads_, outside_spreads_;
  const std::size_t most_listed_;
  const double rounding_;
  const int from_text_, from_collaborative_, from_popular_, from_transition_, from_profile_, from_sequence_;
  const py::function search_, search_sequence_, fill_neighbours_;
  const float *average_, *mean_, *similarities_;
  const Position *by_prior_, *by_both_;
  const std::int32_t* near_;
  const std::uint8_t* near_found_;
  std::size_t width_, indexed_;
  double mean_prior_, mean_prior_known_;
  std::vector<Cell> cells_;
  Positions touched_;
};

}  // namespace

PYBIND11_MODULE(_ranking, module) {
  module.doc() = "The inner loops of ranking.";
  py::class_<Ranking>(module, "Ranking")
      .def(py::init<const py::kwargs&>())
      .def("by_wish", &Ranking::by_wish, py::arg("asked"), py::arg("attributes"), py::arg("page_size"),
           py::arg("excluded"), py::arg("view"))
      .def("by_history", &Ranking::by_history, py::arg("rows"), py::arg("weights"), py::arg("attributes"),
           py::arg("asked"), py::arg("expected").noconvert(), py::arg("page_size"), py::arg("excluded"),
           py::arg("personal"), py::arg("view"))
      .def("score_items", &Ranking::score_items, py::arg("items"), py::arg("rows"), py::arg("weights"),
           py::arg("attributes"), py::arg("asked"), py::arg("expected").noconvert())
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
