package interop;

import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Runs the scenarios against the daemon of the environment; the last line is {@code N passed, N failed}. */
final class Main {
  private static final List<Class<?>> SCENARIOS =
      List.of(
          Sessions.class, Jobs.class, Refusals.class, Idempotency.class, Listing.class, Subscriptions.class,
          Resumes.class, Results.class);
  private static final long SCENARIO_SEC = 30;
  private static final int SHOWN_REASONS = 3;

  private Main() {}

  /** A static method that takes a {@link World}; for both transports unless told. */
  @Retention(RetentionPolicy.RUNTIME)
  @interface Scenario {
    String[] value() default {"ws", "stdio"};
  }

  public static void main(String[] args) throws Exception {
    String transport = option(args, "--transport", "both");
    String filter = option(args, "--filter", "");
    // The client's stdio reader trips over frames that come while it closes.
    Thread.setDefaultUncaughtExceptionHandler((thread, error) -> {});
    int passed = 0;
    int failed = 0;
    for (String name : transport.equals("both") ? List.of("ws", "stdio") : List.of(transport)) {
      for (Method scenario : scenarios(name, filter)) {
        List<String> reasons = run(scenario, name);
        String line = "%-5s  %s".formatted(name, scenario.getName());
        System.out.println(reasons.isEmpty() ? "ok   " + line : "FAIL " + line + ": " + join(reasons));
        passed += reasons.isEmpty() ? 1 : 0;
        failed += reasons.isEmpty() ? 0 : 1;
      }
    }
    System.out.println(passed + " passed, " + failed + " failed");
    System.exit(failed == 0 && passed > 0 ? 0 : 1);
  }

  private static String option(String[] args, String name, String otherwise) {
    int at = Arrays.asList(args).indexOf(name);
    return at >= 0 && at + 1 < args.length ? args[at + 1] : otherwise;
  }

  private static List<Method> scenarios(String transport, String filter) {
    return SCENARIOS.stream()
        .flatMap(c -> Arrays.stream(c.getDeclaredMethods()).sorted(Comparator.comparing(Method::getName)))
        .filter(m -> m.isAnnotationPresent(Scenario.class) && m.getName().contains(filter))
        .filter(m -> List.of(m.getAnnotation(Scenario.class).value()).contains(transport))
        .toList();
  }

  /** Runs one scenario; what was wrong, in words. */
  private static List<String> run(Method scenario, String transport) throws InterruptedException {
    World world = new World(transport);
    List<String> reasons = new ArrayList<>();
    ExecutorService executor = Executors.newVirtualThreadPerTaskExecutor();
    Future<?> body = executor.submit(() -> scenario.invoke(null, world));
    try {
      body.get(SCENARIO_SEC, TimeUnit.SECONDS);
    } catch (TimeoutException e) {
      reasons.add("did not end within " + SCENARIO_SEC + " s");
    } catch (ExecutionException e) {
      Throwable cause = e.getCause() instanceof InvocationTargetException i ? i.getCause() : e.getCause();
      reasons.add(describe(cause));
    } finally {
      executor.shutdownNow();
      world.close();
    }
    reasons.addAll(world.complaints());
    return reasons;
  }

  private static String describe(Throwable error) {
    String text = error instanceof AssertionError ? error.getMessage() : error.toString();
    return Arrays.stream(error.getStackTrace())
        .filter(f -> SCENARIOS.stream().anyMatch(c -> f.getClassName().startsWith(c.getName())))
        .findFirst()
        .map(f -> text + " (" + f.getFileName() + ":" + f.getLineNumber() + ")")
        .orElse(text);
  }

  private static String join(List<String> reasons) {
    String shown = String.join("; ", reasons.subList(0, Math.min(SHOWN_REASONS, reasons.size())));
    int more = reasons.size() - SHOWN_REASONS;
    return shown.replaceAll("\\s+", " ") + (more > 0 ? "; and " + more + " more" : "");
  }
}
