package dev.paredown.core.tokenizer;

import dev.paredown.core.Fields;

/** A token that is found in text before anything else is done to it. */
final class AddedToken {
    final int id;
    final String content;
    final boolean singleWord;
    final boolean takesLeft;
    final boolean takesRight;
    final boolean normalized;
    final boolean special;

    /** @throws dev.paredown.core.ParedownException a key is missing, unknown or of a wrong type */
    AddedToken(Fields json) {
        id = json.int32("id");
        content = json.string("content");
        singleWord = json.bool("single_word");
        takesLeft = json.bool("lstrip");
        takesRight = json.bool("rstrip");
        normalized = json.bool("normalized");
        special = json.bool("special");
        json.end();
    }
}
