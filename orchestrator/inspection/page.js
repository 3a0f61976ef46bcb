// Shows the problems of #data, some at a time.
const STEP = 50;

const source = document.getElementById("data");
const problems = JSON.parse(source.textContent);
source.remove();
const list = document.getElementById("problems");
const more = document.getElementById("more");
const query = document.getElementById("query");
const filters = [...document.querySelectorAll("input[name=filter]")];
let found = problems;
let shown = 0;

function body(problem) {
  const made = element("div", "body", element("h2", "", "Prompt"), element("pre", "", ...marked(problem.prompt)));
  for (const answer of problem.answers) {
    made.append(element("h2", "", `Sample ${answer.sample} · `, ...facts(answer)));
    made.append(element("pre", "", ...marked(answer.completion)));
  }
  return made;
}

// How many answers of a problem have each verdict: "✗ wrong", or "✗ wrong 1 · ✓ right 3" of several.
function verdicts(answers) {
  const parts = [];
  for (const [name, words] of Object.entries(WORDS)) {
    const count = answers.filter((answer) => answer.verdict === name).length;
    if (count) parts.push(parts.length ? " · " : "", verdict(name, answers.length > 1 ? `${words} ${count}` : words));
  }
  return element("span", "", ...parts);
}

// A closed problem; what it says is made when it is opened, and forgotten when it is closed.
function card(problem) {
  const summary = element("summary", "", element("span", "id", ...marked(problem.id)), verdicts(problem.answers));
  if (problem.gold !== null) summary.append(element("span", "", "gold ", ...marked(problem.gold)));
  const beginning = problem.prompt.length > 300 ? `… ${problem.prompt.slice(-300)}` : problem.prompt;
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

function matches(problem, wanted) {
  const answers = problem.answers;
  if (wanted.length && !answers.some((answer) => wanted.includes(answer.verdict) || (answer.truncated && wanted.includes("truncated")))) return false;
  const texts = [problem.id, problem.prompt, problem.gold, ...answers.flatMap((answer) => [answer.completion, answer.extracted, answer.error])];
  return !pattern || texts.some((text) => text !== null && text.search(pattern) >= 0);
}

function update() {
  pattern = searched(query.value);
  const wanted = filters.filter((filter) => filter.checked).map((filter) => filter.value);
  found = problems.filter((problem) => matches(problem, wanted));
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
for (const filter of filters) filter.addEventListener("change", update);
document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", extend);
new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) extend(); }, { rootMargin: "600px" }).observe(more);
update();
