import demo.api.*;
import java.util.*;

@Mark(size = Shelf.COUNT)
/** Uses every kind of declaration of current.txt. */
final class Program extends Shelf<String> {
    static final String TEXT = Shelf.NAME + Shelf.SIGN + Shelf.LARGE + Double.isNaN(Shelf.NOTHING);

    Program() throws Full {
        super("name", 1, 2, 3);
    }

    @Override
    public String take() {
        Map.Entry<String, int[][]> here = entry;
        Map<Number, String[]> map = this.<Number, String>index(new ArrayList<Integer>(), 3);
        Object corner = new Corner() {};
        Shelf.Place.Watcher watcher = new Shelf.Place.Watcher() {};
        switch (Size.valueOf("LARGE")) {
            case LARGE:
                return here.getKey() + map + corner + watcher.seen(null) + Size.values().length;
            default:
                return TEXT;
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.out.println(TEXT);
        System.out.println(Holder.class.isAssignableFrom(Shelf.class));
        System.out.println(Shelf.class.getMethod("take").toGenericString());
        Class<?> shelf = Shelf.class;
        System.out.println(shelf.getMethod("index", List.class, long.class).toGenericString());
        System.out.println(Arrays.toString(Mark.class.getMethod("names").getAnnotations()));
    }
}
