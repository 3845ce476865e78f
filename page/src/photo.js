/** The section "Your photo". */

/**
 * @param {HTMLElement} element the section, with its heading
 * @param {{models: object[], examples: {name: string, url: string}[]}} data
 */
export function photoSection(element, { models, examples }) {
  element.append(`${models.length} models, ${examples.length} examples`);
}
