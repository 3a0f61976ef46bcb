// The list of a page: some problems at a time, those that are searched and filtered for. The page's own script, before
// this one, has `problems`, `heading(problem)`, `body(problem)`, `texts(problem)`, and `wish()`: the filter of now.
const STEP = 50;

const list = document.getElementById("problems");
const more = document.getElementById("more");
const query = document.getElementById("query");
let found = problems;
let shown = 0;

// A closed problem; what it says is made when it is opened, and forgotten when it is closed.
function card(problem) {
  const made = element("details", "", heading(problem));
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

// The values of the filters with a name that are checked.
function chosen(name) {
  return [...document.querySelectorAll(`input[name=${name}]:checked`)].map((each) => each.value);
}

function matches(problem) {
  return !pattern || texts(problem).some((text) => text !== null && text.search(pattern) >= 0);
}

function update() {
  pattern = searched(query.value);
  const wanted = wish();
  found = problems.filter((problem) => wanted(problem) && matches(problem));
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
