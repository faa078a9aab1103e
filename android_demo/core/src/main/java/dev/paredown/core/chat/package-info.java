/**
 * Chat templates: the part of Jinja that templates of language models use, and what goes into one.
 *
 * <p>A construct, filter, test or method that is not known is refused by name and place, never
 * skipped. Templates come with models, so they are not trusted: a {@link
 * dev.paredown.core.chat.Budget} ends what would run for ever or fill the memory.
 */
package dev.paredown.core.chat;
