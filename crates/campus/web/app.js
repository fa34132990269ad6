// The catalogue page. It calls the public JSON API only and keeps its whole state in the address bar,
// so reload, back, forward and a shared link show the same thing. Data reaches the page as text nodes,
// never as markup.

const PAGE_SIZE = 12;
const MAX_PAGE = Math.floor(1_000_000 / PAGE_SIZE);
const TYPING_PAUSE_MS = 250;
const TIMEOUT_MS = 15_000;
const LOG_LENGTH = 5;

const SORTS = { recent: "Newest", popular: "Most popular", top_rated: "Top rated" };
const BUNDLED_HUES = {
  "Programming": 262, "Data science": 205, "Design": 350, "Business": 62,
  "Languages": 305, "Mathematics": 238, "Science": 162, "Everyday skills": 32,
};
const LEVELS = ["beginner", "intermediate", "advanced"];
const RATINGS = ["3", "4", "4.5"];
const PATTERNS = 8;

const SERVED = {
  HIT: "Answered from the cache; the database was not asked.",
  L1: "Answered from the memory of the server process; neither Redis nor the database was asked.",
  L2: "Answered from Redis; the database was not asked.",
  MISS: "Not cached yet: read from the database and kept for the next reader.",
  STALE: "Past its best: answered at once from the cache while a fresh copy is fetched.",
  BYPASS: "This request went straight to the database.",
  OFF: "The cache is switched off on this server.",
  NONE: "The answer did not say how it was served.",
  FAILED: "The request failed.",
};

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const date = new Intl.DateTimeFormat("en", { dateStyle: "medium" });

let categories = [];
const courses = new Map();
const served = [];
let listPath = null;
let shownPath = null;
let listRequest = null;
let openCourse = null;
let courseRequest = null;
let typingTimer = 0;
let typed = false;
let retryTimer = 0;
let retryDelay = 0;

// --- Address bar ---------------------------------------------------------------------------------

function readState() {
  const params = new URLSearchParams(location.search);
  const text = (name) => (params.get(name) ?? "").trim();
  const rating = Number(text("min_rating"));
  const page = Number(text("page"));
  return {
    q: text("q").slice(0, 200),
    category: text("category"),
    level: text("level"),
    min_rating: rating > 0 && rating <= 5 ? String(rating) : "",
    sort_by: Object.hasOwn(SORTS, text("sort_by")) ? text("sort_by") : "recent",
    page: Number.isInteger(page) && page > 1 ? Math.min(page, MAX_PAGE) : 1,
    course: /^\d{1,19}$/.test(text("course")) ? text("course") : "",
  };
}

/** A link to the same list with some changes; an open course is left out unless it is one of them. */
function href(changes) {
  const state = { ...readState(), course: "", ...changes };
  const params = new URLSearchParams();
  for (const name of ["q", "category", "level", "min_rating"]) {
    if (state[name]) params.set(name, state[name]);
  }
  if (state.sort_by !== "recent") params.set("sort_by", state.sort_by);
  if (state.page > 1) params.set("page", state.page);
  if (state.course) params.set("course", state.course);
  return params.size ? `?${params}` : location.pathname;
}

function navigate(url, { replace = false, overlay = false } = {}) {
  clearTimeout(typingTimer);
  history[replace ? "replaceState" : "pushState"]({ overlay }, "", url);
  render();
}

/** Filters always lead back to the first page. */
function filter(changes, options) {
  const url = href({ page: 1, ...changes });
  if (url !== href({})) navigate(url, options);
}

/** The spelling the server warms its cache with: defaults are left out. */
function apiPath(state, seen = 0) {
  const skip = (state.page - 1) * PAGE_SIZE + seen;
  const params = new URLSearchParams({ skip, limit: PAGE_SIZE - seen });
  for (const name of ["q", "category", "level", "min_rating"]) {
    if (state[name]) params.set(name, state[name]);
  }
  if (state.sort_by !== "recent") params.set("sort_by", state.sort_by);
  return `/courses/?${params}`;
}

// --- Requests ------------------------------------------------------------------------------------

class RequestError extends Error {
  constructor(title, detail, { status = 0, served = null } = {}) {
    super(detail);
    Object.assign(this, { title, status, served });
  }

  /** Worth trying again by itself: nobody answered, or the server is in trouble. */
  get passing() {
    return this.status === 0 || this.status >= 500;
  }
}

async function get(path, signal) {
  const started = performance.now();
  let response;
  let text;
  try {
    // no-cache: the browser may keep the body, but asks every time, so the headers are of this request.
    response = await fetch(path, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
      headers: { Accept: "application/json" },
      cache: "no-cache",
    });
    text = await response.text();
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw unreachable(cause, performance.now() - started);
  }
  const how = howServed(response, performance.now() - started);
  if (!response.ok) throw problem(response, text, how);
  try {
    return { data: JSON.parse(text), served: how };
  } catch {
    throw new RequestError("The answer could not be read", "The server sent something that is not JSON.",
      { status: response.status, served: how });
  }
}

function unreachable(cause, ms) {
  const how = { served: { outcome: "FAILED", ms, tier: "", age: null, ttl: null } };
  if (cause.name === "TimeoutError") {
    return new RequestError("The server is slow", `There was no answer within ${TIMEOUT_MS / 1000} seconds.`, how);
  }
  return navigator.onLine
    ? new RequestError("The server cannot be reached", "It may be starting or restarting.", how)
    : new RequestError("You are offline", "The courses come back with the connection.", how);
}

/** An `application/problem+json` body, or whatever a proxy sent in its place. */
function problem(response, text, how) {
  let body = {};
  try {
    body = JSON.parse(text) ?? {};
  } catch {
    // Not JSON: the status line has to do.
  }
  const title = typeof body.title === "string" && body.title ? body.title : "The courses could not be loaded";
  const detail = typeof body.detail === "string" && body.detail
    ? body.detail
    : `The server answered ${response.status} ${response.statusText}`.trim() + ".";
  return new RequestError(title, detail, { status: response.status, served: how });
}

// --- How an answer was served --------------------------------------------------------------------

function howServed({ headers, ok }, ms) {
  const name = (headers.get("X-Cache") ?? "").trim().split(/[\s,]/)[0].toUpperCase();
  const outcome = !ok ? "FAILED" : Object.hasOwn(SERVED, name) ? name : "NONE";
  const cached = outcome === "HIT" || outcome === "STALE";
  const status = cacheStatus(headers.get("Cache-Status"));
  const age = headers.get("Age");
  return {
    outcome, ms,
    tier: cached && /^L[12]$/.test(status.detail ?? "") ? status.detail : "",
    age: cached && age !== null && age !== "" ? Number(age) : null,
    ttl: status.ttl === undefined ? null : Number(status.ttl),
  };
}

/** The parameters of the last (nearest) member of an RFC 9211 field. */
function cacheStatus(value) {
  const last = (value ?? "").split(",").at(-1);
  const pairs = last.split(";").slice(1).map((part) => part.trim().split("="));
  return Object.fromEntries(pairs.map(([name, text]) => [name, text?.replaceAll('"', "")]));
}

function explain({ outcome, tier, ttl }) {
  const text = outcome === "HIT" && tier ? SERVED[tier] : SERVED[outcome];
  return outcome === "HIT" && ttl > 0 ? `${text} Fresh for another ${number.format(ttl)} s.` : text;
}

function servedParts({ outcome, tier, age, ms }) {
  const time = ms < 1 ? "<1 ms" : `${number.format(Math.round(ms))} ms`;
  const label = { NONE: "no cache header", FAILED: "failed" }[outcome] ?? outcome;
  return [label, tier, age === null ? "" : `age ${number.format(age)} s`, time].filter(Boolean);
}

function showServed(node, how) {
  const [label, ...rest] = servedParts(how);
  node.dataset.outcome = how.outcome;
  node.title = explain(how);
  node.replaceChildren(el("b", {}, label), ...rest.map((part) => el("span", {}, part)));
}

function logServed(how) {
  showServed($("served"), how);
  $("legend").dataset.outcome = how.outcome;
  served.unshift(how);
  served.length = Math.min(served.length, LOG_LENGTH);
  $("log").replaceChildren(...served.map((entry) => {
    const row = el("li", { class: "served" });
    showServed(row, entry);
    return row;
  }));
}

// --- Building blocks -----------------------------------------------------------------------------

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child || child === 0));
  return node;
}

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

const hidden = (text) => el("span", { class: "hidden" }, text);
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const plural = (count, one, many = `${one}s`) => `${number.format(count)} ${count === 1 ? one : many}`;

/** FNV-1a with a final mix, so that neighbouring ids look different. */
function hash(text) {
  let h = 0x811c9dc5;
  for (const char of text) h = Math.imul(h ^ char.codePointAt(0), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  return (h ^ (h >>> 13)) >>> 0;
}

/** A picture of its own for each course: the category gives the hue, the id the rest. */
function cover({ id, category }) {
  const bits = hash(`${category}#${id}`);
  const hue = BUNDLED_HUES[category] ?? hash(category ?? "") % 360;
  const node = el("div", { class: "cover", "data-pattern": id % PATTERNS, "aria-hidden": "true" });
  node.style.setProperty("--hue", hue - 14 + (bits & 31));
  node.style.setProperty("--hue-2", hue - 50 + ((bits >>> 5) % 100));
  node.style.setProperty("--angle", `${(bits >>> 12) % 360}deg`);
  node.style.setProperty("--x", `${10 + ((bits >>> 8) % 80)}%`);
  node.style.setProperty("--y", `${(bits >>> 16) % 100}%`);
  return node;
}

/** Markdown and simple markup to readable text; paragraphs and list items keep their lines. */
function plain(text) {
  return (text ?? "")
    .replace(/^\s*(```|~~~).*$/gm, "")
    .replace(/<\/?(p|br|div|span|a|b|i|u|em|strong|code|pre|ul|ol|li|h[1-6]|img)(\s[^<>]*)?\/?>/gi, " ")
    .replace(/!\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/\[([^\]]+)\]\([^)]*\)/g, "$1")
    .replace(/^\s{0,3}#{1,6}\s+/gm, "")
    .replace(/^\s{0,3}>\s?/gm, "")
    .replace(/^(\s*)[-*+]\s+/gm, "$1• ")
    .replace(/(\*\*|__)(?=\S)(.+?)\1/g, "$2")
    .replace(/(^|[\s(])([*_])(?=\S)([^*_\n]+?)\2(?=$|[\s).,;:!?])/gm, "$1$3")
    .replace(/`([^`\n]+)`/g, "$1")
    .replace(/&(amp|lt|gt|quot|#39|nbsp);/g, (_, name) =>
      ({ amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'", nbsp: " " })[name])
    .replace(/[ \t]+/g, " ")
    .replace(/\s*\n\s*\n\s*/g, "\n\n")
    .trim();
}

/** The first sentences on one line: headings say little there, and list items need no bullets. */
function excerpt(text) {
  return plain((text ?? "").replace(/^\s{0,3}#{1,6}\s.*$/gm, "").slice(0, 600))
    .replace(/:?\s*\n+\s*•\s*/g, " · ").replace(/^•\s*/, "");
}

// --- Facts of a course ---------------------------------------------------------------------------

function priceText(price) {
  return Number(price) === 0 ? "Free" : String(price ?? "");
}

function stars(rating) {
  const count = rating?.count ?? 0;
  if (!count) return el("span", { class: "rating rating-none" }, "Not rated yet");
  const average = Number(rating.average);
  const bar = el("span", { class: "stars", "aria-hidden": "true" });
  bar.style.setProperty("--fill", `${(average / 5) * 100}%`);
  return el("span", { class: "rating" },
    hidden(`Rated ${average.toFixed(1)} of 5 by ${plural(count, "learner")}`),
    el("b", { "aria-hidden": "true" }, average.toFixed(1)), bar,
    el("span", { "aria-hidden": "true" }, `(${number.format(count)})`));
}

function seats(enrolled, max) {
  if (max === null || max === undefined) return null;
  const left = Math.max(0, max - enrolled);
  const urgency = left === 0 ? "full" : left <= Math.max(3, max * 0.1) ? "few" : "some";
  const text = { full: "Full", few: `Only ${plural(left, "seat")} left`, some: `${plural(left, "seat")} left` };
  return el("span", { class: "seats", "data-seats": urgency }, text[urgency]);
}

function level(name) {
  const rank = LEVELS.indexOf(name) + 1;
  const bars = rank ? el("span", { class: "bars", "data-rank": rank, "aria-hidden": "true" }, el("i"), el("i"), el("i")) : null;
  return el("span", { class: "level" }, bars, capital(name ?? ""));
}

function card(course) {
  const price = priceText(course.price);
  const free = price === "Free";
  return el("li", { class: "card" },
    cover(course),
    el("div", { class: "card-body" },
      el("p", { class: "card-meta" }, el("span", { class: "tag" }, course.category ?? ""), level(course.level)),
      el("h3", {}, el("a", { href: href({ course: course.id }), "data-nav": "course", "aria-haspopup": "dialog" }, course.title)),
      el("p", { class: "excerpt" }, excerpt(course.description)),
      el("p", { class: "by" }, hidden("Taught by "), course.instructor?.full_name ?? ""),
      el("p", { class: "card-row" }, stars(course.rating),
        el("span", { class: "enrolled" }, icon("people"), number.format(course.enrolled_count), hidden(" enrolled"))),
      el("p", { class: "card-row card-foot" },
        el("span", { class: "price", "data-free": free }, free ? null : hidden("Price "), price),
        seats(course.enrolled_count, course.max_students))));
}

// --- List ----------------------------------------------------------------------------------------

async function load({ announce = false, quiet = false } = {}) {
  const state = readState();
  if (announce || quiet || !categories.length) loadCategories();
  clearTimeout(retryTimer);
  listRequest?.abort();
  const request = listRequest = new AbortController();
  $("results").setAttribute("aria-busy", "true");
  if (!quiet) showWaiting();
  try {
    const { data, served: how } = await get(apiPath(state), request.signal);
    logServed(how);
    await fill(state, data, request.signal);
    showList(state, data);
    if (announce) $("announce").textContent = `Reloaded: ${servedParts(how).join(", ")}. ${explain(how)}`;
  } catch (error) {
    if (request.signal.aborted) return;
    if (!(error instanceof RequestError)) throw error;
    if (error.served) logServed(error.served);
    showError(error);
  } finally {
    if (listRequest === request) $("results").removeAttribute("aria-busy");
  }
}

/** A page of very long descriptions ends early: the rest of it is asked for. */
async function fill(state, page, signal) {
  const full = Math.min(PAGE_SIZE, page.total - page.skip);
  for (let more = page.items; more.length && page.items.length < full;) {
    const { data, served: how } = await get(apiPath(state, page.items.length), signal);
    logServed(how);
    more = data.items;
    page.items.push(...more);
  }
}

/** Without an answer the filter keeps what it has: the list says what is wrong. */
async function loadCategories() {
  try {
    const { data } = await get("/courses/categories", new AbortController().signal);
    categories = data.map(({ name }) => name);
    showControls(readState());
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
  }
}

/** What is on the screen stays there, dimmed by `aria-busy`; an empty screen gets skeletons. */
function showWaiting() {
  if ($("grid").childElementCount) return;
  $("notice").replaceChildren();
  $("count").textContent = "Loading the courses";
  $("grid").replaceChildren(...Array.from({ length: PAGE_SIZE }, () =>
    el("li", { class: "card skeleton", "aria-hidden": "true" }, el("div", { class: "cover" }),
      el("div", { class: "card-body" }, el("i"), el("i"), el("i"), el("i")))));
}

function showList(state, { items, total, skip }) {
  shownPath = apiPath(state);
  retryDelay = 0;
  showOnline();
  setReady(true);
  for (const course of items) courses.set(String(course.id), course);
  showControls(state);
  $("grid").replaceChildren(...items.map(card));
  $("notice").replaceChildren();
  $("count").textContent = items.length
    ? `${number.format(skip + 1)}–${number.format(skip + items.length)} of ${plural(total, "course")}`
    : total ? "An empty page" : "No courses";
  if (!items.length) showEmpty(state, total);
  showPages(state, total);
}

function showEmpty(state, total) {
  const last = Math.max(1, Math.ceil(total / PAGE_SIZE));
  const filtered = state.q || state.category || state.level || state.min_rating;
  const clear = href({ q: "", category: "", level: "", min_rating: "", page: 1 });
  const [title, detail, action] = total
    ? ["This page is past the end", `There are ${plural(last, "page")} of courses.`,
      el("a", { class: "button", href: href({ page: last }), "data-nav": "page" }, "Go to the last page")]
    : filtered
      ? ["No course matches", state.q ? `Nothing was found for “${state.q}”. Try another word or fewer filters.`
        : "No course fits all of these filters together.",
        el("a", { class: "button", href: clear, "data-nav": "filter" }, "Clear search and filters")]
      : ["There are no courses yet", "Published courses appear here. Instructors create them through the API.",
        el("a", { class: "button", href: "/docs" }, "Open the API docs")];
  $("notice").replaceChildren(notice("nothing", title, detail, action));
}

/** A list that is on the screen stays there when only its reload failed. */
function showError(error) {
  if (error.passing) retryWhenReady();
  if (shownPath === listPath) {
    $("banner").textContent = `${error.title}. ${error.message} What you see was loaded before.`;
    $("banner").hidden = false;
    return;
  }
  shownPath = null;
  const retry = el("button", { class: "button", type: "button" }, "Try again");
  retry.addEventListener("click", () => {
    load();
    $("results").focus();
  });
  const detail = error.passing ? `${error.message} This page tries again by itself.` : error.message;
  $("grid").replaceChildren();
  $("pages").hidden = true;
  $("count").textContent = "No courses to show";
  if ($("notice").dataset.text !== detail || !$("notice").childElementCount) {
    $("notice").dataset.text = detail;
    $("notice").replaceChildren(notice(navigator.onLine ? "alert" : "offline", error.title, detail, retry, error.status));
  }
}

function notice(symbol, title, detail, action, status = 0) {
  return el("div", { class: "notice", "data-kind": symbol }, icon(symbol), el("h3", {}, title), el("p", {}, detail),
    status ? el("p", { class: "notice-status" }, `HTTP ${status}`) : null, action);
}

function showPages(state, total) {
  const last = Math.ceil(total / PAGE_SIZE);
  const step = (to, text, before) => {
    const inside = before ? [icon("prev"), text] : [text, icon("next")];
    return to >= 1 && to <= last
      ? el("a", { class: "button", href: href({ page: to }), "data-nav": "page", rel: before ? "prev" : "next" }, ...inside)
      : el("span", { class: "button", "aria-disabled": "true" }, ...inside);
  };
  $("pages").hidden = last < 2 || state.page > last;
  $("pages").replaceChildren(step(state.page - 1, "Previous", true),
    el("span", { class: "page-of" }, "Page ", el("b", {}, number.format(state.page)), ` of ${number.format(last)}`),
    step(state.page + 1, "Next", false));
}

// --- Search and filters --------------------------------------------------------------------------

function showControls(state) {
  const byName = (names, chosen) => [...new Set([...names, chosen].filter(Boolean))];
  const named = (values, label) => values.map((value) => [value, label(value)]);
  const names = byName(categories, state.category).sort((a, b) => a.localeCompare(b, "en"));
  const ratings = byName(RATINGS, state.min_rating).sort((a, b) => a - b);
  setOptions("category", [["", "All categories"], ...named(names, (name) => name)], state.category);
  setOptions("level", [["", "All levels"], ...named(byName(LEVELS, state.level), capital)], state.level);
  setOptions("min_rating", [["", "Any rating"], ...named(ratings, (value) => `${value} and up`)], state.min_rating);
  setOptions("sort_by", Object.entries(SORTS), state.sort_by);
  showActive(state);
}

function setOptions(id, options, chosen) {
  const select = $(id);
  const current = [...select.options].map((option) => option.value).join("\n");
  if (current !== options.map(([value]) => value).join("\n")) {
    select.replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
  }
  select.value = chosen;
  select.toggleAttribute("data-set", chosen !== options[0][0]);
}

function showActive(state) {
  const labels = {
    q: state.q && `“${state.q}”`,
    category: state.category,
    level: capital(state.level),
    min_rating: state.min_rating && `Rated ${state.min_rating} and up`,
  };
  const set = Object.entries(labels).filter(([, text]) => text);
  const chips = set.map(([name, text]) => el("li", {},
    el("a", { class: "chip", href: href({ [name]: "", page: 1 }), "data-nav": "filter" },
      hidden("Remove filter "), el("span", {}, text), icon("close"))));
  if (set.length > 1) {
    const none = { q: "", category: "", level: "", min_rating: "", page: 1 };
    chips.push(el("li", {}, el("a", { class: "clear", href: href(none), "data-nav": "filter" }, "Clear all")));
  }
  $("active").replaceChildren(...chips);
  $("active").hidden = !chips.length;
}

/** One history entry for a burst of typing, not one for each letter. */
function search({ pressedEnter = false } = {}) {
  clearTimeout(typingTimer);
  filter({ q: $("q").value.trim() }, { replace: typed });
  typed = !pressedEnter;
}

// --- Course dialog -------------------------------------------------------------------------------

async function showCourse(id) {
  openCourse = id;
  courseRequest?.abort();
  const request = courseRequest = new AbortController();
  const known = courses.get(id);
  drawCourse(known ?? null, {});
  if (!$("course").open) $("course").showModal();
  $("course-title").focus();
  try {
    const seatsRead = get(`/courses/${id}/seats`, request.signal).then(({ data }) => data, () => null);
    const { data, served: how } = await get(`/courses/${id}`, request.signal);
    const taken = await seatsRead;
    if (request.signal.aborted) return;
    courses.set(id, data);
    drawCourse(data, { how, taken });
  } catch (error) {
    if (request.signal.aborted) return;
    if (!(error instanceof RequestError)) throw error;
    drawCourse(error.status === 404 ? null : known ?? null, { how: error.served, error });
  }
}

function drawCourse(course, { how = null, taken = null, error = null }) {
  const badge = el("p", { class: "served", "data-outcome": "NONE" }, "loading");
  if (how) showServed(badge, how);
  const close = el("button", { class: "close", type: "button", "aria-label": "Close" }, icon("close"));
  close.addEventListener("click", () => $("course").close());
  const heading = course?.title ?? (error ? error.title : "Loading the course");
  const focused = $("course").contains(document.activeElement);
  $("course-body").replaceChildren(
    el("div", { class: "course-top" }, course ? cover(course) : el("div", { class: "cover" }), close),
    el("div", { class: "course-main" },
      course && el("p", { class: "card-meta" }, el("span", { class: "tag" }, course.category ?? ""), level(course.level)),
      el("h2", { id: "course-title", tabindex: "-1" }, heading),
      error && el("p", { class: "course-error", role: "alert" }, icon("alert"), error.message),
      course && el("p", { class: "course-by" }, "Taught by ", el("b", {}, course.instructor?.full_name ?? "")),
      course && facts(course, taken),
      course && el("div", { class: "course-text" }, plain(course.description) || "No description."),
      course && howToEnroll(course),
      how || !error ? el("div", { class: "course-served" }, badge, el("span", {}, how ? explain(how) : "")) : null));
  document.title = course ? `${course.title} · Campus` : document.title;
  if (focused) $("course-title").focus({ preventScroll: true });
}

function facts(course, taken) {
  const enrolled = taken?.enrolled ?? course.enrolled_count;
  const max = taken ? taken.max_students : course.max_students;
  const free = priceText(course.price) === "Free";
  const rows = [
    ["Price", el("span", { class: "price", "data-free": free }, priceText(course.price))],
    ["Rating", stars(course.rating)],
    ["Enrolled", number.format(enrolled)],
    ["Seats", seats(enrolled, max) ?? "Unlimited"],
    ["Published", day(course.published_at)],
    ["Updated", day(course.updated_at)],
  ];
  return el("dl", { class: "facts" }, ...rows.filter(([, value]) => value).map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function day(time) {
  const at = new Date(time ?? NaN);
  return Number.isNaN(at.getTime()) ? null : el("time", { datetime: time }, date.format(at));
}

function howToEnroll(course) {
  return el("div", { class: "enroll" },
    el("h3", {}, "Lessons open to enrolled learners"),
    el("p", {}, "Sign in and enroll through the API, then read the lessons there."),
    el("pre", { tabindex: "0", role: "region", "aria-label": "Request that enrolls" },
      el("code", {}, `POST /enrollments\n{"course_id": ${course.id}}`)),
    el("a", { class: "button button-main", href: "/docs" }, "How to enroll: API docs"));
}

/** Closing goes back when opening went forward, so that the history does not grow. */
function closedCourse() {
  openCourse = null;
  courseRequest?.abort();
  if (!readState().course) return;
  if (history.state?.overlay) history.back();
  else navigate(href({}), { replace: true });
}

// --- Service state -------------------------------------------------------------------------------

function setReady(ready) {
  $("ready").dataset.ready = ready ? "yes" : "no";
  $("ready").textContent = ready ? "service ready" : "service not ready";
}

async function isReady() {
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    return (await fetch("/health/ready", { cache: "no-store", signal })).ok;
  } catch {
    return false;
  }
}

function retryWhenReady() {
  retryDelay = Math.min(retryDelay ? retryDelay * 2 : 2_000, 30_000);
  clearTimeout(retryTimer);
  retryTimer = setTimeout(async () => {
    const waitingFor = listRequest;
    const ready = await isReady();
    setReady(ready);
    if (waitingFor !== listRequest) return;
    if (ready) load({ quiet: true });
    else retryWhenReady();
  }, retryDelay);
}

function showOnline() {
  $("banner").textContent = navigator.onLine ? "" : "You are offline. What you see was loaded before.";
  $("banner").hidden = navigator.onLine;
}

// --- Wiring --------------------------------------------------------------------------------------

function render() {
  const state = readState();
  if ($("q").value.trim() !== state.q) $("q").value = state.q;
  showControls(state);
  if (!state.course) {
    const subject = [state.q && `“${state.q}”`, state.category, state.page > 1 && `page ${state.page}`].filter(Boolean);
    document.title = subject.length ? `${subject.join(" · ")} · Campus` : "Campus: course catalogue";
  }
  if (listPath !== apiPath(state)) {
    listPath = apiPath(state);
    load();
  }
  if (state.course && state.course !== openCourse) showCourse(state.course);
  if (!state.course && $("course").open) $("course").close();
}

function followLink(event) {
  const link = event.target.closest?.("a[data-nav]");
  if (!link || event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  typed = false;
  const kind = link.dataset.nav;
  navigate(link.getAttribute("href"), { overlay: kind === "course" });
  if (kind === "course") return;
  $("results").focus({ preventScroll: true });
  if (kind === "page") $("results").scrollIntoView();
  if (kind === "home") scrollTo(0, 0);
}

function pressKey(event) {
  const typing = event.target.closest?.("input, select, textarea, [contenteditable]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey || $("course").open) return;
  event.preventDefault();
  $("q").focus();
  $("q").select();
}

$("q").addEventListener("input", () => {
  clearTimeout(typingTimer);
  typingTimer = setTimeout(search, TYPING_PAUSE_MS);
});
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search({ pressedEnter: true });
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("change", ({ target }) => {
  typed = false;
  filter({ q: $("q").value.trim(), [target.name]: target.value });
});
$("reload").addEventListener("click", () => load({ announce: true }));
$("course").addEventListener("close", closedCourse);
$("course").addEventListener("click", ({ target }) => {
  if (target === $("course")) $("course").close();
});
document.addEventListener("click", followLink);
document.addEventListener("keydown", pressKey);
addEventListener("popstate", () => {
  typed = false;
  render();
});
addEventListener("offline", showOnline);
addEventListener("online", () => {
  showOnline();
  load({ quiet: true });
});

showOnline();
render();
isReady().then(setReady);
