/** Elements from names, attributes and children; text is text, never HTML. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} tag
 * @param {Record<string, any>} attributes; those that start with "on" are listeners
 * @param {...(Node|string)} children
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for what belongs into an `<svg>`. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Name a section of the page in its list of contents. */
export function listed(id, title) {
  document.querySelector("nav div").append(h("a", { href: `#${id}` }, title));
}

/** Add a section with a heading to the page. */
export function section(id, title, ...children) {
  listed(id, title);
  const heading = h("h2", { id: `${id}-title` }, title);
  const element = h("section", { id, "aria-labelledby": heading.id }, heading, ...children);
  document.querySelector("main").append(element);
}

/** A choice among `options` (value -> text); `choose` is called with the value, at once, too. */
export function select(label, options, choose) {
  const items = Object.entries(options).map(([value, text]) => h("option", { value }, text));
  const box = h("select", { onchange: () => choose(box.value) }, ...items);
  choose(box.value);
  return h("label", { class: "choice" }, label, box);
}
