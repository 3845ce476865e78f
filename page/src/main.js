import { changes, costs, curves, effects, pictures, scores, suspects } from "./comparison.js";
import { record } from "./data.js";
import { section } from "./dom.js";
import { photoSection } from "./photo.js";

const found = record();
if (found.models.length) photoSection(section("photo", "Your photo"), found);
if (found.revisions) changes(found);
else scores(found);
curves(found);
if (found.effects) effects(found);
if (found.costs) costs(found);
if (found.pictures?.length) pictures(found);
if (found.suspects) suspects(found);
