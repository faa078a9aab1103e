package dev.paredown.core.tokenizer;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import dev.paredown.core.ParedownException;
import org.junit.Test;

/** A tokenizer small enough to be written down here. */
public final class TokenizerTest {
    private static final String ADDED =
            "{'id':%d,'content':'%s','single_word':false,'lstrip':false,'rstrip':false,"
                    + "'normalized':false,'special':true}";

    /** Letters a to c, a space, the two bytes of e acute, and three merges. */
    private static final String BYTE_LEVEL =
            "{'version':'1.0','added_tokens':[" + String.format(ADDED, 9, "<s>") + "],"
                    + "'normalizer':null,'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false},"
                    + "'post_processor':{'type':'TemplateProcessing','pair':[],'special_tokens':"
                    + "{'<s>':{'id':'<s>','ids':[9],'tokens':['<s>']}},'single':[{'SpecialToken':"
                    + "{'id':'<s>','type_id':0}},{'Sequence':{'id':'A','type_id':0}}]},"
                    + "'decoder':{'type':'ByteLevel'},'model':{'type':'BPE','vocab':{'a':0,'b':1,"
                    + "'c':2,'\u0120':3,'\u00c3':4,'\u00a9':5,'ab':6,'bc':7,'\u0120ab':8},"
                    + "'merges':['b c','a b','\u0120 ab']}}";

    private static Tokenizer tokenizer(String json) {
        return Tokenizer.parse(json.replace('\'', '"'), "tokenizer.json");
    }

    @Test
    public void mergesByRankAndThenFromTheLeft() {
        Tokenizer tokenizer = tokenizer(BYTE_LEVEL);
        assertArrayEquals(new int[] {0, 7}, tokenizer.encode("abc", false));
        assertArrayEquals(new int[] {6, 6, 8}, tokenizer.encode("abab ab", false));
        assertArrayEquals(new int[] {9, 6}, tokenizer.encode("ab", true));
        assertArrayEquals(new int[] {6, 9, 7}, tokenizer.encode("ab<s>bc", false));
    }

    @Test
    public void leavesOutWhatHasNoTokenAndUnknownIds() {
        Tokenizer tokenizer = tokenizer(BYTE_LEVEL);
        assertArrayEquals(new int[] {6}, tokenizer.encode("axb", false));
        assertEquals("ab", tokenizer.decode(new int[] {6, 77, -1}, true));
        assertEquals("<s>a", tokenizer.decode(new int[] {9, 0}, false));
        assertEquals("a", tokenizer.decode(new int[] {9, 0}, true));
    }

    @Test
    public void aStreamHoldsBackHalfACharacter() {
        TokenStream stream = tokenizer(BYTE_LEVEL).stream(new int[] {9, 0});
        assertEquals("", stream.push(4));
        assertEquals("\u00e9", stream.push(5));
        assertEquals("b", stream.push(1));
        assertEquals("", stream.push(4));
        assertEquals("\ufffd", stream.finish());
    }

    @Test
    public void halvesOfSurrogatePairsAreText() {
        Tokenizer tokenizer = tokenizer(BYTE_LEVEL);
        assertArrayEquals(tokenizer.encode("a\ufffdb", false), tokenizer.encode("a\ud800b", false));
    }

    @Test
    public void aLongWordNeedsNoDeepStack() {
        StringBuilder word = new StringBuilder();
        for (int i = 0; i < 200_000; i++) {
            word.append("ab");
        }
        int[] ids = tokenizer(BYTE_LEVEL).encode(word.toString(), false);
        assertEquals(200_000, ids.length);
        assertTrue(ids[0] == 6 && ids[199_999] == 6);
    }

    @Test
    public void refusesByName() {
        String json = BYTE_LEVEL.replace("'normalizer':null", "'normalizer':{'type':'NFKC'}");
        ParedownException refusal =
                assertThrows(ParedownException.class, () -> tokenizer(json));
        assertTrue(refusal.sentence(), refusal.getMessage().contains("a normalizer of type NFKC"));
        assertEquals(ParedownException.BAD_REQUEST, refusal.exitCode());
    }

    @Test
    public void refusesATokenWithAnotherId() {
        String json = BYTE_LEVEL.replace("'id':9,", "'id':12,");
        ParedownException refusal =
                assertThrows(ParedownException.class, () -> tokenizer(json));
        assertTrue(refusal.getMessage().contains("the id 12, it would be 9"));
    }
}
