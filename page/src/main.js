import { changes, costs, curves, effects, pictures, scores, suspects } from "./comparison.js";
import { record } from "./data.js";
import { listed } from "./dom.js";
import { photoSection } from "./photo.js";

const found = record();
const photo = document.getElementById("photo");
if (found.models.length) {
  listed("photo", "Your photo");
  photoSection(photo, found);
} else photo.remove();
if (found.revisions) changes(found);
else scores(found);
if (found.curves.length) curves(found);
if (found.effects) effects(found);
if (found.costs) costs(found);
if (found.pictures?.length) pictures(found);
if (found.suspects) suspects(found);
