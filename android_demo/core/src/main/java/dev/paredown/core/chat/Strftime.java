package dev.paredown.core.chat;

import java.util.Calendar;
import java.util.Date;
import java.util.GregorianCalendar;
import java.util.Locale;

/** Dates as C's strftime writes them in English. */
final class Strftime {
    private static final String[] DAYS = {
        "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"
    };
    private static final String[] MONTHS = {
        "January", "February", "March", "April", "May", "June", "July", "August", "September",
        "October", "November", "December"
    };

    private Strftime() {}

    /** @throws TemplateError a conversion that is not known */
    static String format(String format, Date date) {
        Calendar calendar = new GregorianCalendar(java.util.TimeZone.getDefault(), Locale.ROOT);
        calendar.setTime(date);
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < format.length(); i++) {
            char c = format.charAt(i);
            if (c != '%') {
                out.append(c);
            } else if (++i < format.length()) {
                out.append(convert(format.charAt(i), calendar));
            } else {
                throw TemplateError.unsupported("strftime_now with a % at the end");
            }
        }
        return out.toString();
    }

    private static String convert(char conversion, Calendar at) {
        switch (conversion) {
            case 'd':
                return padded(at.get(Calendar.DAY_OF_MONTH), 2);
            case 'm':
                return padded(at.get(Calendar.MONTH) + 1, 2);
            case 'Y':
                return String.valueOf(at.get(Calendar.YEAR));
            case 'y':
                return padded(at.get(Calendar.YEAR) % 100, 2);
            case 'H':
                return padded(at.get(Calendar.HOUR_OF_DAY), 2);
            case 'M':
                return padded(at.get(Calendar.MINUTE), 2);
            case 'S':
                return padded(at.get(Calendar.SECOND), 2);
            case 'j':
                return padded(at.get(Calendar.DAY_OF_YEAR), 3);
            case '%':
                return "%";
            default:
                return name(conversion, at);
        }
    }

    private static String name(char conversion, Calendar at) {
        String day = DAYS[at.get(Calendar.DAY_OF_WEEK) - 1];
        String month = MONTHS[at.get(Calendar.MONTH)];
        switch (conversion) {
            case 'A':
                return day;
            case 'a':
                return day.substring(0, 3);
            case 'B':
                return month;
            case 'b':
                return month.substring(0, 3);
            default:
                throw TemplateError.unsupported("strftime_now with %" + conversion);
        }
    }

    private static String padded(int number, int width) {
        return String.format(Locale.ROOT, "%0" + width + "d", number);
    }
}
