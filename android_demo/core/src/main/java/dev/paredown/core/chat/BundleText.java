package dev.paredown.core.chat;

import dev.paredown.core.Bundle;
import dev.paredown.core.Json;
import dev.paredown.core.ParedownException;
import dev.paredown.core.TextCodec;
import dev.paredown.core.TextFiles;
import dev.paredown.core.tokenizer.TokenStream;
import dev.paredown.core.tokenizer.Tokenizer;
import java.io.File;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A bundle's tokenizer and chat template, with the rules of {@code paredown chat}. */
public final class BundleText implements TextCodec {
    private static final String[] SPECIAL = {"bos_token", "eos_token", "unk_token", "pad_token"};

    private final Tokenizer tokenizer;
    private final Map<String, Object> config;
    private final Template template;
    private final Integer bosId;

    private BundleText(
            Tokenizer tokenizer, Map<String, Object> config, Template template, Integer bosId) {
        this.tokenizer = tokenizer;
        this.config = config;
        this.template = template;
        this.bosId = bosId;
    }

    /**
     * Read tokenizer.json, tokenizer_config.json and chat_template.jinja; only the first must be
     * there.
     *
     * @throws ParedownException a file is missing, broken, or asks for what is not supported
     */
    public static BundleText open(Bundle bundle) {
        return open(bundle.directory(), bundle.manifest().bosTokenId);
    }

    /**
     * As {@link #open(Bundle)} for a folder whose bytes were checked elsewhere.
     *
     * @param bosId of the manifest, or null
     */
    public static BundleText open(File folder, Integer bosId) {
        File tokenizer = new File(folder, "tokenizer.json");
        if (!tokenizer.isFile()) {
            throw ParedownException.badRequest(
                    folder + " has no tokenizer.json", "use measure and check, which need none");
        }
        Map<String, Object> config = config(new File(folder, "tokenizer_config.json"));
        return new BundleText(Tokenizer.open(tokenizer), config, template(folder, config), bosId);
    }

    private static Map<String, Object> config(File file) {
        return file.isFile()
                ? Json.parseObject(TextFiles.read(file), file.getName())
                : Collections.<String, Object>emptyMap();
    }

    /** The template file, else the template inside of the configuration, else null. */
    private static Template template(File folder, Map<String, Object> config) {
        File file = new File(folder, "chat_template.jinja");
        if (file.isFile()) {
            return Template.parse(TextFiles.read(file), "the chat template");
        }
        Object inside = config.get("chat_template");
        return inside instanceof String
                ? Template.parse((String) inside, "the chat template") : null;
    }

    /** Whether there is a chat template; without one, text is continued as it is. */
    public boolean hasTemplate() {
        return template != null;
    }

    @Override
    public int[] promptIds(String text) {
        if (template == null) {
            return plainIds(text);
        }
        Map<String, String> message = new LinkedHashMap<>();
        message.put("role", "user");
        message.put("content", text);
        return chatIds(Collections.singletonList(message), new Date());
    }

    /**
     * Token ids of a conversation, up to where the model's answer begins.
     *
     * @param messages maps with role and content
     * @param now for templates that tell the date
     * @throws ParedownException there is no template, or it refuses this conversation
     */
    public int[] chatIds(List<Map<String, String>> messages, Date now) {
        int[] ids = tokenizer.encode(render(messages, now), false);
        return ids.length > 0 ? ids : start();
    }

    /** The conversation as text; see {@link #chatIds}. */
    String render(List<Map<String, String>> messages, Date now) {
        if (template == null) {
            throw ParedownException.badRequest("the bundle has no chat template", "");
        }
        Map<String, Object> variables = new LinkedHashMap<>();
        for (String name : SPECIAL) {
            variables.put(name, tokenText(config.get(name)));
        }
        variables.put("messages", new ArrayList<Object>(messages));
        variables.put("add_generation_prompt", true);
        return template.render(variables, now);
    }

    /** A token in tokenizer_config.json is a text or {"content": text}, or null. */
    private static String tokenText(Object token) {
        Object text = token instanceof Map ? ((Map<?, ?>) token).get("content") : token;
        return text instanceof String ? (String) text : "";
    }

    private int[] plainIds(String text) {
        int[] ids = tokenizer.encode(text, true);
        boolean adds = Boolean.TRUE.equals(config.get("add_bos_token")) && bosId != null;
        if (ids.length == 0) {
            return start();
        }
        if (!adds || ids[0] == bosId) {
            return ids;
        }
        int[] all = new int[ids.length + 1];
        all[0] = bosId;
        System.arraycopy(ids, 0, all, 1, ids.length);
        return all;
    }

    /** BOS, the one prompt that says nothing. */
    private int[] start() {
        return bosId == null ? new int[0] : new int[] {bosId};
    }

    @Override
    public TokenStream stream(int[] promptIds) {
        return tokenizer.stream(promptIds);
    }
}
