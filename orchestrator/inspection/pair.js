// Shows the problems of #data, some at a time, with the answers of both sides beside each other.
const STEP = 50;
const FLIPS = { right: ["right", "✓ flipped to right"], wrong: ["wrong", "✗ flipped to wrong"], "": ["quiet", "~ moved"] };

const source = document.getElementById("data");
const { names, problems } = JSON.parse(source.textContent);
source.remove();
const list = document.getElementById("problems");
const more = document.getElementById("more");
const query = document.getElementById("query");
const chosen = (name) => [...document.querySelectorAll(`input[name=${name}]:checked`)].map((each) => each.value);
let found = problems;
let shown = 0;

function answersOf(problem, side) {
  const made = element("div", "side", element("h2", "", visible(names[problem.pair][side])));
  if (problem.prompts[0] !== problem.prompts[1]) made.append(element("pre", "", ...marked(problem.prompts[side])));
  for (const answer of problem.sides[side]) {
    made.append(element("h3", "", `Sample ${answer.sample} · `, ...facts(answer)));
    made.append(element("pre", "", ...marked(answer.completion)));
  }
  return made;
}

function body(problem) {
  const made = element("div", "body");
  if (problem.prompts[0] === problem.prompts[1]) {
    made.append(element("h2", "", "Prompt"), element("pre", "", ...marked(problem.prompts[0])));
  }
  made.append(element("div", "sides", answersOf(problem, 0), answersOf(problem, 1)));
  return made;
}

// A closed problem; what it says is made when it is opened, and forgotten when it is closed.
function card(problem) {
  const [kind, words] = FLIPS[problem.flip];
  const shares = problem.shares.map((share) => `${Math.round(100 * share)} %`).join(" → ");
  const summary = element("summary", "",
    element("span", "id", ...marked(problem.id)), element("span", "", visible(problem.benchmark)),
    verdict(kind, words), element("span", "", `right ${shares}`));
  if (names.length > 1) summary.append(element("span", "quiet", visible(names[problem.pair].join(" → "))));
  if (problem.gold !== null) summary.append(element("span", "", "gold ", ...marked(problem.gold)));
  const prompt = problem.prompts[0];
  const beginning = prompt.length > 300 ? `… ${prompt.slice(-300)}` : prompt;
  summary.append(element("span", "quiet beginning", visible(beginning.replace(/\s+/g, " "))));
  const made = element("details", "", summary);
  made.addEventListener("toggle", () => {
    made.querySelector(".body")?.remove();
    if (made.open) made.append(body(problem));
  });
  return made;
}

function extend() {
  list.append(...found.slice(shown, shown + STEP).map(card));
  shown = Math.min(found.length, shown + STEP);
  more.hidden = shown === found.length;
}

function matches(problem, flips, benchmarks) {
  if (flips.length && !flips.includes(problem.flip)) return false;
  if (benchmarks.length && !benchmarks.includes(problem.benchmark)) return false;
  const answers = problem.sides.flat().flatMap((answer) => [answer.completion, answer.extracted, answer.error]);
  const texts = [problem.id, problem.gold, ...problem.prompts, ...answers];
  return !pattern || texts.some((text) => text !== null && text.search(pattern) >= 0);
}

function update() {
  pattern = searched(query.value);
  const [flips, benchmarks] = [chosen("flip"), chosen("benchmark")];
  found = problems.filter((problem) => matches(problem, flips, benchmarks));
  document.getElementById("shown").textContent = `${found.length} of ${problems.length} problems.`;
  list.replaceChildren();
  shown = 0;
  extend();
}

let waiting = 0;
query.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(update, 150);
});
for (const filter of document.querySelectorAll("input[type=checkbox]")) filter.addEventListener("change", update);
document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", extend);
new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) extend(); }, { rootMargin: "600px" }).observe(more);
update();
