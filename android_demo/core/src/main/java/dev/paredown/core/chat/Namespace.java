package dev.paredown.core.chat;

import java.util.LinkedHashMap;
import java.util.Map;

/** What namespace() makes: the one thing whose attributes a template may set. */
final class Namespace {
    final Map<String, Object> attributes = new LinkedHashMap<>();
}
