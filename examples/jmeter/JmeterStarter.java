// Starts Debian's JMeter 2.13, which does not start by itself: its xstream 1.4.20 refuses JMeter's own classes
// (`ForbiddenClassException`), and JMeter then exits 0 without a result file. This program first allows JMeter's
// classes. A JMeter 5 needs none of this.
//
//   java -Djmeter.home=/usr/share/jmeter \
//     -cp '/usr/share/jmeter/lib/*:/usr/share/jmeter/lib/ext/*:/usr/share/jmeter/bin/ApacheJMeter.jar' \
//     JmeterStarter.java -n -t plan.jmx -l result.jtl

import java.lang.reflect.Field;

final class JmeterStarter {
    private static final String[] ALLOWED = {"org.apache.jmeter.**", "org.apache.jorphan.**"};

    public static void main(String[] arguments) throws Exception {
        // The next class reads its settings from there as soon as it is loaded.
        Class<?> utilities = Class.forName("org.apache.jmeter.util.JMeterUtils");
        utilities.getMethod("setJMeterHome", String.class).invoke(null, System.getProperty("jmeter.home"));
        Class<?> saveService = Class.forName("org.apache.jmeter.save.SaveService");
        for (String name : new String[] {"JMXSAVER", "JTLSAVER"}) {
            Field field = saveService.getDeclaredField(name);
            field.setAccessible(true);
            Object xstream = field.get(null);
            xstream.getClass().getMethod("allowTypesByWildcard", String[].class).invoke(xstream, (Object) ALLOWED);
        }
        Class<?> jmeter = Class.forName("org.apache.jmeter.JMeter");
        Object instance = jmeter.getDeclaredConstructor().newInstance();
        jmeter.getMethod("start", String[].class).invoke(instance, (Object) arguments);
    }
}
